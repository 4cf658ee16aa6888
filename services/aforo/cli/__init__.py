"""The command line, ``aforo``."""

from aforo.cli.entry import main

__all__ = ["main"]

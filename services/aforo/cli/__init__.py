"""The command line, ``aforo``."""

from aforo.cli.main import main

__all__ = ["main"]

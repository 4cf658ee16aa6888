"""Where ``aforo`` begins: faults become a message and an exit code, and so do Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

ALLOCATOR = {"_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:10000,muzzy_decay_ms:10000"}
"""How Polars' allocator, jemalloc, keeps memory: in one pool, and for ten seconds before it goes back to the system.

Otherwise each batch is given new pages, which the system has to clear: a third of the time of an ingest.
"""


class Interrupted(BaseException):
    """A person or the scheduler asked this process to end.

    Not a ``KeyboardInterrupt``, which some libraries swallow or turn into words of their own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main() -> None:
    """Run the command line. Exits with the code of the error's class, or with 128 plus the signal's number."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    for name, value in ALLOCATOR.items():
        # Read once, when Polars is loaded. What the environment says stands.
        os.environ.setdefault(name, value)
    try:
        # Here, because the libraries take seconds to load: Ctrl-C has its meaning from the first moment.
        from aforo.cli.main import run

        run()
    except Interrupted as ended:
        hint = "".join(f"\nhint: {note}" for note in getattr(ended, "__notes__", ()))
        sys.stderr.write(f"aforo: interrupted; what was finished stands{hint}\n")
        sys.exit(ended.exit_code)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)

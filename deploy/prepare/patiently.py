"""Run a command that prepares something, again and again until it succeeds: what it needs may still be starting.

::

    python patiently.py COMMAND ...

Compose starts a one-shot when what it needs is healthy; `docker compose restart` and a reboot know no order.
"""

from __future__ import annotations

import subprocess
import sys
import time

PATIENCE_S = 90.0
PAUSE_S = 3.0


def main(command: list[str]) -> int:
    """Return the exit code of the first success, or of the last failure."""
    end = time.monotonic() + PATIENCE_S
    while True:
        code = subprocess.run(command, check=False).returncode
        if not code or time.monotonic() > end:
            return code
        print(f"ended with {code}; again in {PAUSE_S:.0f} s", file=sys.stderr)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

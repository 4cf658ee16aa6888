"""``make demo`` trains if something changed since the champion, then serves one prediction and ends.

``make airflow`` and ``make mlflow`` open the two user interfaces on the same folder until Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from embedded.demonstration import demonstrate
from embedded.folder import ROOT, Embedded
from embedded.interfaces import open_airflow, open_mlflow
from embedded.processes import CannotStart, adopt_orphans, end_descendants, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="embedded", description=__doc__)
    parser.add_argument("what", choices=["demo", "airflow", "mlflow"])
    parser.add_argument("--airflow", type=Path, default=ROOT / ".venv-airflow" / "bin" / "airflow")
    parser.add_argument("--use-case", default="flight_delay")
    parser.add_argument("--port", type=int, help="where the user interface listens")
    options = parser.parse_args()
    embedded = Embedded.from_environment(options.airflow.absolute())
    adopt_orphans()
    # SIGTERM ends everything as Ctrl-C does, and Ctrl-C does so even where a shell has started us in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        match options.what:
            case "demo":
                return demonstrate(embedded, options.use_case)
            case "airflow":
                return open_airflow(embedded, options.port or 8080)
            case _:
                return open_mlflow(embedded, options.port or 5000)
    except CannotStart as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        # Nothing may come between the request to end and its fulfilment, a second Ctrl-C least of all.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        end_descendants()
        say("stopped; nothing is left running, and the same command goes on from here")
        return 130
    finally:
        end_descendants()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

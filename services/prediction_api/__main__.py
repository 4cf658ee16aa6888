"""``python -m prediction_api``: serve as the environment says, until SIGTERM or SIGINT.

``aforo serve`` is the same with options; this is what a container runs, where the command line of the library is not
installed. The variables are those of :meth:`~prediction_api.options.ServeOptions.from_environment`.
"""

from __future__ import annotations

import os
import sys

from aforo import logs
from aforo.errors import AforoError
from aforo.registry.signing import signing_key
from aforo.settings import Settings
from prediction_api.options import ServeOptions
from prediction_api.server import serve


def main() -> int:
    """Serve, and return the exit code."""
    try:
        settings = Settings.from_environment()
        logs.configure(settings.log_format)
        signing_key(settings.signing_key_file, create=settings.is_embedded)
        serve(ServeOptions.from_environment(os.environ, settings), on_listening=_tell)
    except AforoError as error:
        sys.stderr.write(f"aforo: {error}\n")
        return error.exit_code
    return 0


def _tell(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

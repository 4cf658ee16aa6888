"""Our service, with validation and API keys on, from a local copy of the registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from prediction_api.options import ServeOptions
from prediction_api.server import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--api-keys", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    serve(
        ServeOptions(
            port=arguments.port,
            workers=arguments.workers,
            mirror=arguments.home / "mirror",
            signing_key_file=arguments.home / "signing.key",
            api_keys_file=arguments.api_keys,
            follow_registry=False,
        )
    )

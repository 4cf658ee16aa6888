"""Compile what ONNX Runtime runs faster with: ``services/aforo/export/kernels``, into a library beside the sources.

The compiler is a package (ziglang, which is Clang with the headers of every system), so that a machine needs no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "services/aforo/export/kernels"
LIBRARY = KERNELS / "tree_ensemble.so"
FLAGS = ["-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-shared", "-s", "-Wall", "-Wextra", "-Werror"]


def main() -> None:
    # The compiler keeps what it made of the C library, which the next machine does not need.
    with tempfile.TemporaryDirectory() as cache:
        made = Path(cache) / LIBRARY.name
        sources = map(str, sorted(KERNELS.glob("*.c")))
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *sources, "-o", str(made)]
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        done = subprocess.run(command, env=environment, check=False)
        if done.returncode:
            sys.exit(f"{LIBRARY.name} was not compiled: the compiler ended with exit code {done.returncode}")
        # In one step: a process may have the former one open.
        partial = LIBRARY.with_suffix(".part")
        partial.write_bytes(made.read_bytes())
        partial.replace(LIBRARY)


if __name__ == "__main__":
    main()

"""Compile what ONNX Runtime runs faster with: ``services/aforo/export/kernels/*.c``, each a library beside its source.

The compiler is a package (ziglang, which is Clang with the headers of every system), so that a machine needs no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "services/aforo/export/kernels"
FLAGS = ["-std=c11", "-O3", "-fPIC", "-shared", "-s", "-Wall", "-Wextra", "-Werror"]


def main() -> None:
    # The compiler keeps what it made of the C library, which the next machine does not need.
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        for source in sorted(KERNELS.glob("*.c")):
            made = Path(cache) / source.with_suffix(".so").name
            command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, str(source), "-o", str(made)]
            done = subprocess.run(command, env=environment, check=False)
            if done.returncode:
                sys.exit(f"{source.name} was not compiled: the compiler ended with exit code {done.returncode}")
            # In one step: a process may have the former one open.
            partial = source.with_suffix(".so.part")
            partial.write_bytes(made.read_bytes())
            partial.replace(source.with_suffix(".so"))


if __name__ == "__main__":
    main()

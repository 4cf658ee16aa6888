"""The command line tells Polars' allocator to keep memory, before Polars is loaded."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
import aforo.cli
assert "polars" not in sys.modules, "too late: Polars reads it when it is loaded"
sys.argv = ["aforo", "--help"]
try:
    aforo.cli.main()
finally:
    sys.stderr.write(os.environ["_RJEM_MALLOC_CONF"])
"""


@pytest.mark.parametrize(("given", "expected"), [(None, "narenas:1,dirty_decay_ms:10000,muzzy_decay_ms:10000"),
                                                 ("narenas:3", "narenas:3")])  # fmt: skip
def test_memory_is_kept_for_the_next_batch_unless_the_environment_says_otherwise(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    if given is not None:
        environment["_RJEM_MALLOC_CONF"] = given

    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    # Polars puts its own settings before these, and of two the last counts.
    assert done.stderr.endswith(f"muzzy_decay_ms:1000,{expected}")
    # It names on stderr an option that it does not know.
    assert "<jemalloc>" not in done.stderr

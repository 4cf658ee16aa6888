"""Ending what was started, with processes that make it hard."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# Asked to end, it starts another in a session of its own, says so and goes: what Airflow does between two tasks.
LEAVES_AN_ORPHAN = """
import signal, subprocess, sys, time
def another(*_):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, another)
print("ready", flush=True)
time.sleep(300)
"""

ENDS_ALL = """
import subprocess, sys
from embedded.processes import adopt_orphans, end_descendants

adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
end_descendants()
"""


def test_a_process_that_is_started_while_the_others_are_ended_is_ended_too(tmp_path, living):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "MARK_OF_THIS_TEST": str(tmp_path)}
    subprocess.run([sys.executable, "-c", ENDS_ALL, LEAVES_AN_ORPHAN], env=environment, check=True, timeout=60)
    assert living("MARK_OF_THIS_TEST", str(tmp_path)) == []

"""Schemathesis against the service's own OpenAPI document: no 5xx, no hang, and memory that stays.

::

    uv venv /tmp/fuzz && uv pip install --python /tmp/fuzz schemathesis==4.32.5
    .venv/bin/python benchmarks/serving/fuzz_http.py --home .aforo --schemathesis /tmp/fuzz/bin/schemathesis

One of its checks cannot hold: JSON Schema cannot say that each array of ``data`` has as many values as ``columns`` has
names, nor that a tensor has as many values as its shape says, so requests are refused that the document admits. That
check is left out, and all others are on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import own
from server_process import running
from subject import Subject

LEFT_OUT = "positive_data_acceptance"
SLOWEST_S = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--schemathesis", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(arguments.home, arguments.model, Path(folder))
        contender = own(subject, ["nice"], workers=1)
        with running(contender, subject) as server:
            first_mb, started, runs = server.memory_mb().pss, time.monotonic(), []
            while (left_s := arguments.minutes * 60 - (time.monotonic() - started)) > 10:
                command = [arguments.schemathesis, "run", f"http://127.0.0.1:{server.port}/openapi.json"]
                for name, value in contender.headers.items():
                    if name == "Authorization":
                        command += ["--header", f"{name}: {value}"]
                command += ["--max-time", str(int(left_s)), "--max-response-time", str(SLOWEST_S)]
                command += ["--exclude-checks", LEFT_OUT, "--continue-on-failure", "--no-color", "--warnings", "off"]
                command += ["--max-examples", "500", "--seed", str(len(runs))]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ})
                runs.append(done.returncode)
                sys.stderr.write(f"run {len(runs)} ended with {done.returncode}, {server.memory_mb().pss:.1f} MB\n")
                if done.returncode:
                    sys.stderr.write(done.stdout[-6_000:])
                else:
                    sys.stderr.write("\n".join(done.stdout.splitlines()[-12:]) + "\n")
            last_mb = server.memory_mb().pss
            log = (Path(folder) / "aforo.log").read_text()
    print(
        json.dumps(
            {
                "minutes": round((time.monotonic() - started) / 60, 1),
                "runs": len(runs),
                "runs_with_findings": sum(map(bool, runs)),
                "faults_of_ours_in_the_log": log.count("prediction failed") + log.count("request failed"),
                "pss_mb_first": round(first_mb, 1),
                "pss_mb_last": round(last_mb, 1),
            },
            indent=1,
        )
    )
    return 1 if any(runs) else 0


if __name__ == "__main__":
    sys.exit(main())

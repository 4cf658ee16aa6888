"""``make demo``: from raw rows to a served prediction, in one call that can be called again."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from typing import Any

from embedded.folder import Embedded
from embedded.processes import free_port, say, started
from embedded.training import train

NOTHING_CHANGED = 99
API_START_TIMEOUT_S = 60


def demonstrate(embedded: Embedded, use_case: str) -> int:
    """Train if it is due, serve, and ask. Returns the exit code."""
    began = time.monotonic()
    environment = embedded.environment()
    say(f"has anything changed since the champion of {use_case}?")
    with started([embedded.aforo, "due", use_case], environment) as asking:
        due = asking.wait()
    if due not in (0, NOTHING_CHANGED):
        return due
    if due == NOTHING_CHANGED:
        say("not training again")
    elif code := train(embedded, use_case):
        say(f"the DAG failed with exit code {code}: see above, and {embedded.log}")
        return code
    if not serve_and_ask(embedded, environment, use_case):
        return 1
    show_where_to_look(embedded, use_case)
    say(f"done in {time.monotonic() - began:.0f} s")
    return 0


def serve_and_ask(embedded: Embedded, environment: dict[str, str], use_case: str) -> bool:
    """Describe the champion while the API starts, ask it about one row, and return whether all went well."""
    address = f"http://127.0.0.1:{free_port()}"
    command = [embedded.aforo, "serve", "--model", use_case, "--port", address.rpartition(":")[2]]
    with (
        embedded.log.open("ab") as log,
        started(command, environment, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        print(flush=True)
        with started([embedded.aforo, "describe", use_case], environment) as describing:
            if describing.wait():
                return False
        print(flush=True)
        say(f"the prediction API is on {address} for a moment")
        if not is_ready(server, f"{address}/health/ready"):
            say(f"the prediction API is not ready; what it said is at the end of {embedded.log}")
            return False
        model = ask(f"{address}/models/{use_case}")
        if model.get("champion") is None:
            say(f"{use_case} has no champion: the gate refused the candidate, and says why above")
            return False
        show_one_prediction(f"{address}/models/{use_case}/predict", model["champion"]["contract"]["inputs"])
        return True


def show_one_prediction(address: str, inputs: list[dict[str, Any]]) -> None:
    """Send the contract's own example, and print question and answer."""
    question = {"rows": [{column["name"]: column["example"] for column in inputs}]}
    print(f"\nPOST {address}\n{json.dumps(question, indent=2)}")
    print(json.dumps(ask(address, question), indent=2), flush=True)


def is_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until the server says that it is ready; ``False`` if it ends, or takes too long."""
    give_up = time.monotonic() + API_START_TIMEOUT_S
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:  # refused, not ready yet, or slower than the timeout
            time.sleep(0.1)
    return False


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request, with ``body`` as JSON if there is one, and return the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def show_where_to_look(embedded: Embedded, use_case: str) -> None:
    print(
        f"""
Where to look next
  make mlflow              runs, plots and versions, on http://127.0.0.1:5000
  make airflow             the DAG {use_case}__training, on http://127.0.0.1:8080
  make serve               the prediction API, on http://127.0.0.1:8000/docs
  .venv/bin/aforo --help   every step by hand
  {embedded.home}   snapshots, runs, models, ledger, and demo.log""",
        flush=True,
    )

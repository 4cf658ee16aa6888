"""Exit 0 if MLflow serves its clients: past its host check, its login and its database.

``/health`` says nothing of the kind: it answers even while every client is refused.
"""

import base64
import json
import urllib.request
from pathlib import Path

password = Path("/run/secrets/mlflow_prediction_api_password").read_text(encoding="utf-8").strip()
request = urllib.request.Request(
    "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search",
    data=b'{"max_results": 1}',
    headers={
        "Host": "mlflow:5000",
        "Authorization": "Basic " + base64.b64encode(f"prediction-api:{password}".encode()).decode(),
        "Content-Type": "application/json",
    },
)
with urllib.request.urlopen(request, timeout=8) as answer:
    json.load(answer)

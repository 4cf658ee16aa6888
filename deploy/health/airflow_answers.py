"""Exit 0 if Airflow's API server answers and reaches its database."""

import json
import sys
import urllib.request

with urllib.request.urlopen("http://127.0.0.1:8080/api/v2/monitor/health", timeout=8) as answer:
    sys.exit(json.load(answer)["metadatabase"]["status"] != "healthy")

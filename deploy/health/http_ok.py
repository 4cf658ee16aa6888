"""Exit 0 if the URL answers with a success: ``http_ok.py URL``."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=5):
    pass

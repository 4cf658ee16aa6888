"""Serves ``/metrics`` on port 9102 and takes Airflow's StatsD datagrams on port 8125."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from metrics import postgres
from metrics.statsd import Figures, listen

figures = Figures()


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, postgres.text() + figures.text())
        elif self.path == "/health":
            self._answer(200, "ok\n")
        else:
            self._answer(404, "see /metrics\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a scrape every few seconds is no event."""


listen(figures)
ThreadingHTTPServer(("0.0.0.0", 9102), Page).serve_forever()

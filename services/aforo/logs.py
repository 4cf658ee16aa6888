"""How a log line looks: one event a line, its fields beside it, as text for a person or as JSON for a machine.

Lines go to stderr; stdout is for data. ``logger.info("snapshot taken", extra={"rows": 7})`` becomes
``12:00:01 snapshot taken  rows=7`` or ``{"time": ..., "event": "snapshot taken", "rows": 7}``.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

# What the standard library puts on every record; all else was passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``time event  name=value ...``, for a person."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        fields = "  ".join(f"{name}={_short(value)}" for name, value in fields_of(record).items())
        line = f"{time} {level}{record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for a machine."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def configure(log_format: str, level: int = logging.INFO) -> None:
    """Send this process's log to stderr in ``log_format`` (``text`` or ``json``).

    Libraries below us speak up from ``warning`` on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in ("aforo", "prediction_api"):
        logging.getLogger(package).setLevel(level)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

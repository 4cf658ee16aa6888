import json
import logging

from aforo.logs import JsonFormatter, TextFormatter


def record(**fields: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "aforo.data", "levelno": 20, "levelname": "INFO", "msg": "taken", **fields})


def test_a_json_line_carries_the_event_and_its_fields():
    event = json.loads(JsonFormatter().format(record(rows=7)))
    assert event["event"] == "taken"
    assert event["rows"] == 7
    assert event["level"] == "info"


def test_a_text_line_shows_the_fields_behind_the_event():
    assert TextFormatter().format(record(rows=7, share=0.123456)).endswith(" taken  rows=7  share=0.1235")

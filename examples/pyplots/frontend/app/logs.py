"""Log lines as Cloud Logging reads them: one JSON object a line, with ``severity`` and ``message``.

https://cloud.google.com/logging/docs/structured-logging
"""

import json
import logging
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """A log record as one line; what is given as ``extra={"fields": {...}}`` becomes fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["message"] += "\n" + self.formatException(record.exc_info)
        return json.dumps(line, default=str)

"""Logs as JSON lines on standard error, each with the trace it belongs to.

Never log tokens, passwords or what people write.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from services.common.tracing import current_ids

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, service, trace_id, span_id and the `extra` fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self._service,
        }
        trace_id, span_id = current_ids()
        if trace_id:
            entry |= {"trace_id": trace_id, "span_id": span_id}
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info and record.exc_info[0]:
            entry["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure_logging(service: str, level: str) -> None:
    """Send every logger's records to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every connection and statement at INFO, which would drown the service's own words.
    for chatty in ("sqlalchemy.engine", "aiohttp.access", "alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

"""Logs as JSON lines on standard error, each with the process and the trace it belongs to.

Never log tokens, passwords or what people write.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from services.common.tracing import current_ids

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, process, message, logger, trace_id, span_id and the `extra` fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "message": record.getMessage(),
            "logger": record.name,
        }
        trace_id, span_id = current_ids()
        if trace_id:
            entry |= {"trace_id": trace_id, "span_id": span_id}
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info and record.exc_info[0]:
            entry["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure_logging(process: str, level: str) -> None:
    """Send every logger's records to standard error as JSON, and with them warnings and what ends the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every connection and statement at INFO, which would drown the service's own words.
    for chatty in ("sqlalchemy.engine", "aiohttp.access", "alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("ended by an exception", exc_info=(kind, error, at))

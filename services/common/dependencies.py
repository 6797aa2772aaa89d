"""Which exceptions of our drivers mean that Postgres or Valkey does not answer, rather than a defect of ours."""

import asyncpg
import redis.exceptions
import sqlalchemy.exc

from services.common.errors import Unavailable

RETRY_AFTER_SECONDS = 1.0

# Postgres: connection failures, insufficient resources, operator intervention (shutdown, query cancelled by timeout),
# serialization failures and deadlocks.
_SQLSTATE_CLASSES = ("08", "53", "57", "40")

# A bare TimeoutError is a driver's: the deadline of a call has an error of its own.
_CONNECTION_ERRORS = (
    ConnectionError,
    TimeoutError,
    asyncpg.InterfaceError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    sqlalchemy.exc.TimeoutError,
)


def as_unavailable(error: BaseException) -> Unavailable | None:
    """The typed error for a dependency that does not answer; None if the exception is anything else."""
    if isinstance(error, _CONNECTION_ERRORS) or _is_lost_database(error):
        return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
    return None


def _is_lost_database(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error.connection_invalidated or isinstance(error, sqlalchemy.exc.InterfaceError):
            return True
        state = getattr(error.orig, "sqlstate", None)
        return isinstance(state, str) and state[:2] in _SQLSTATE_CLASSES
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error.sqlstate, str) and error.sqlstate[:2] in _SQLSTATE_CLASSES
    # A socket that is not there, as while Postgres restarts; a missing file would have its name here.
    return isinstance(error, FileNotFoundError) and error.filename is None

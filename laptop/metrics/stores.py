"""What Prometheus should know of Postgres and Valkey, asked for at every scrape."""

import logging
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
import redis.asyncio
import redis.exceptions
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

SECONDS = 3.0

logger = logging.getLogger(__name__)

Gather = Callable[[], Awaitable[list[Metric]]]

_DATABASE = """
select pg_database_size(current_database())::float8 as bytes,
       current_setting('max_connections')::float8 as maximum_connections,
       xact_commit::float8 as commits, xact_rollback::float8 as rollbacks, deadlocks::float8 as deadlocks,
       blks_read::float8 as blocks_read, blks_hit::float8 as blocks_hit, temp_bytes::float8 as temporary_bytes
from pg_stat_database where datname = current_database()
"""
_CONNECTIONS = """
select coalesce(usename, '') as role, coalesce(state, '') as state, count(*)::float8 as count
from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() group by 1, 2
"""
# Key of the answer → what it counts. What only grows is a counter.
_POSTGRES_COUNTERS = {
    "commits": "Transactions committed.",
    "rollbacks": "Transactions rolled back.",
    "deadlocks": "Deadlocks found.",
    "blocks_read": "Blocks read from files.",
    "blocks_hit": "Blocks found in memory.",
    "temporary_bytes": "Bytes written to temporary files.",
}
_POSTGRES_GAUGES = {
    "bytes": "Size of the database.",
    "maximum_connections": "Connections the server takes.",
}
_VALKEY_COUNTERS = {
    "total_commands_processed": "Commands processed.",
    "total_connections_received": "Connections taken.",
    "keyspace_hits": "Lookups that found a key.",
    "keyspace_misses": "Lookups that found none.",
    "evicted_keys": "Keys given up for lack of memory.",
    "expired_keys": "Keys whose time was over.",
}
_VALKEY_GAUGES = {
    "connected_clients": "Connections open.",
    "used_memory": "Bytes in use.",
    "maxmemory": "Bytes it may use.",
    "uptime_in_seconds": "Seconds since its start.",
}


def postgres(url: str) -> Gather:
    """Of the server at `url`, which must be a superuser's or a monitor's for the connections of all roles."""

    async def gather() -> list[Metric]:
        try:
            connection = await asyncpg.connect(url, timeout=SECONDS, command_timeout=SECONDS)
            try:
                database = await connection.fetchrow(_DATABASE)
                connections = await connection.fetch(_CONNECTIONS)
            finally:
                await connection.close(timeout=SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.warning("Postgres gives no metrics", extra={"error": repr(error)})
            return [_up("postgres", up=False)]
        open_now = GaugeMetricFamily("deskmesh_postgres_connections", "Connections open.", labels=("role", "state"))
        for row in connections:
            open_now.add_metric((row["role"], row["state"]), row["count"])
        numbers = dict(database)
        return [
            _up("postgres", up=True),
            open_now,
            *_families("postgres", numbers, _POSTGRES_GAUGES, _POSTGRES_COUNTERS),
        ]

    return gather


def valkey(url: str) -> Gather:
    """Of the server at `url`."""

    async def gather() -> list[Metric]:
        client = redis.asyncio.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
        try:
            numbers = await client.info()
        except (OSError, TimeoutError, redis.exceptions.RedisError) as error:
            logger.warning("Valkey gives no metrics", extra={"error": repr(error)})
            return [_up("valkey", up=False)]
        finally:
            await client.aclose()
        return [_up("valkey", up=True), *_families("valkey", numbers, _VALKEY_GAUGES, _VALKEY_COUNTERS)]

    return gather


def _families(
    store: str, numbers: Mapping[str, float], gauges: Mapping[str, str], counters: Mapping[str, str]
) -> list[Metric]:
    prefix = f"deskmesh_{store}_"
    return [
        *(GaugeMetricFamily(prefix + key, text, value=float(numbers[key])) for key, text in gauges.items()),
        *(CounterMetricFamily(prefix + key, text, value=float(numbers[key])) for key, text in counters.items()),
    ]


def _up(store: str, *, up: bool) -> Metric:
    return GaugeMetricFamily(f"deskmesh_{store}_up", "Whether it answers.", value=float(up))

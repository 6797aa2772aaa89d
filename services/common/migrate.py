"""Prepares the database of services: `python -m services.common.migrate SERVICE…`; running it again is harmless.

For each service it makes a role `deskmesh_<service>` that may read and write but owns nothing, a schema of the
service's name, and brings its tables to the newest version with the revisions in `services/<service>/migrations/`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from psycopg import sql
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.logs import configure_logging
from services.common.secrets import StoredSettings

logger = logging.getLogger(__name__)

SERVICES_FOLDER = Path(__file__).resolve().parent.parent
SCRIPTS_FOLDER = Path(__file__).resolve().parent / "alembic"
# One migration at a time in a database; the number means nothing but is ours alone.
LOCK_KEY = 7100_0001


class MigrateSettings(StoredSettings):
    """A superuser's URL, from `DESKMESH_*` or a store of secrets, and a JSON file of role passwords by service."""

    model_config = SettingsConfigDict(env_prefix="DESKMESH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    # postgresql://postgres@/deskmesh?host=/FOLDER/OF/THE/SOCKET; the database is made if it is missing.
    database_admin_url: str = Field(repr=False)
    # {"auth": "…", …}; without it the roles have no password and the socket's own rules decide who gets in.
    database_passwords_file: Path | None = None
    log_level: str = "INFO"


def migrate(
    admin_url: str,
    services: Sequence[str],
    passwords: Mapping[str, str] | None = None,
    *,
    revision: str = "head",
    folder: Path = SERVICES_FOLDER,
) -> None:
    """Make roles and schemas and run the migrations in `folder`/<service>/migrations. Raises sqlalchemy errors."""
    url = sa.make_url(admin_url).set(drivername="postgresql+psycopg")
    _create_database(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as lock:
        lock.execute(sa.text("select pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        for service in services:
            with engine.begin() as connection:
                _prepare(connection, service, (passwords or {}).get(service))
                _run_alembic(connection, service, folder / service / "migrations", revision)
            logger.info("migrated", extra={"migrated": service})
    engine.dispose()


def has_migrations(service: str) -> bool:
    """True when the service keeps tables at all."""
    return any((SERVICES_FOLDER / service / "migrations").glob("[0-9]*.py"))


def _create_database(url: sa.URL) -> None:
    engine = sa.create_engine(url.set(database="postgres"), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        exists = connection.scalar(sa.text("select 1 from pg_database where datname = :name"), {"name": url.database})
        if not exists:
            _execute(connection, sql.SQL("create database {}").format(sql.Identifier(url.database or "")))
    engine.dispose()


def _prepare(connection: sa.Connection, service: str, password: str | None) -> None:
    role, schema = sql.Identifier(f"deskmesh_{service}"), sql.Identifier(service)
    exists = connection.scalar(sa.text("select 1 from pg_roles where rolname = :name"), {"name": f"deskmesh_{service}"})
    if not exists:
        _execute(connection, sql.SQL("create role {} login").format(role))
    if password:
        _execute(connection, sql.SQL("alter role {} password {}").format(role, sql.Literal(password)))
    for statement in (
        "create extension if not exists vector with schema public",
        "create schema if not exists {schema}",
        "alter role {role} set search_path = {schema}, public",
        "grant usage on schema {schema} to {role}",
        "alter default privileges in schema {schema} grant select, insert, update, delete on tables to {role}",
        "alter default privileges in schema {schema} grant usage, select on sequences to {role}",
        "set local search_path = {schema}, public",
    ):
        _execute(connection, sql.SQL(statement).format(role=role, schema=schema))


def _execute(connection: sa.Connection, statement: sql.Composed) -> None:
    connection.exec_driver_sql(statement.as_string(None))


def _run_alembic(connection: sa.Connection, service: str, versions: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS_FOLDER))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["schema"] = service
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m services.common.migrate", description=__doc__)
    parser.add_argument("services", nargs="+", metavar="SERVICE")
    services: list[str] = parser.parse_args(arguments).services
    settings = MigrateSettings()
    configure_logging("migrations", settings.log_level)
    passwords = json.loads(settings.database_passwords_file.read_text()) if settings.database_passwords_file else {}
    migrate(settings.database_admin_url, services, passwords)
    return 0


if __name__ == "__main__":
    sys.exit(main())

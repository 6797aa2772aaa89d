"""The migrations make the tables that the code speaks of."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.models import tables
from tests.support.postgres import Postgres


def test_tables_and_migrations_agree(postgres: Postgres) -> None:
    url = sa.make_url(postgres.admin_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("set search_path = models"))
        connection.dialect.default_schema_name = "models"
        context = MigrationContext.configure(connection, opts={"include_name": _is_ours})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name == "alembic_version")

"""The migrations make what `tables.py` says, and can be taken back."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.common.ids import new_id
from services.common.migrate import migrate
from services.knowledge import tables
from tests.support.postgres import Postgres


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)


def test_migrations_and_tables_agree(postgres: Postgres) -> None:
    engine = engine_of(postgres.url("knowledge"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = [
            difference
            for difference in compare_metadata(context, tables.metadata)
            if not (difference[0] == "remove_table" and difference[1].name == "alembic_version")
        ]
        computed = {
            column["name"]: column["computed"]["sqltext"]
            for column in sa.inspect(connection).get_columns("passages")
            if "computed" in column
        }
    assert found == []
    assert set(computed) == {"words"}


def test_the_way_back_leaves_nothing_and_forward_works_again(postgres: Postgres) -> None:
    name = new_id("scratch")
    url = sa.make_url(postgres.admin_url).set(database=name).render_as_string(hide_password=False)
    migrate(url, ["knowledge"])
    migrate(url, ["knowledge"], revision="base")
    with engine_of(url).connect() as connection:
        left = sa.inspect(connection).get_table_names(schema="knowledge")
    assert left == ["alembic_version"]
    migrate(url, ["knowledge"])
    with engine_of(postgres.admin_url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'drop database "{name}"')

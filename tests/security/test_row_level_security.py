"""Postgres itself keeps organizations apart: asked of its catalog, for every table of every service."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.postgres import Postgres, services_with_tables

SERVICES = services_with_tables()

SYSTEM = "current_setting('app.system'::text, true) = 'on'::text"
ORGANIZATION = "(organization_id)::text = current_setting('app.organization_id'::text, true)"
# What a policy of a table with an organization may say: its rows, or none at all but to work that belongs to no tenant.
CLOSED = (f"(({ORGANIZATION}) OR ({SYSTEM}))", f"({SYSTEM})")

# The one table that holds nothing of anybody: which migrations have run.
OPEN = "alembic_version"

TABLES = """
select n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner),
       exists (select from pg_attribute a
               where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname = any(%s)
order by 1, 2
"""
POLICIES = """
select p.polcmd::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
from pg_policy p where p.polrelid = %s::regclass
"""


@pytest.fixture(scope="module")
def catalog(postgres: Postgres) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def tables(catalog: "psycopg.Connection[tuple[Any, ...]]") -> list[tuple[Any, ...]]:
    return catalog.execute(TABLES, [SERVICES]).fetchall()


def test_every_table_has_row_level_security_that_holds_for_everybody(tables: list[tuple[Any, ...]]) -> None:
    assert {row[0] for row in tables if row[5]} == set(SERVICES), "every service keeps something of organizations"
    for schema, table, enabled, forced, *_ in tables:
        if table != OPEN:
            assert enabled, f"{schema}.{table} has no row-level security"
            assert forced, f"row-level security of {schema}.{table} does not hold for its owner"


def test_every_table_of_an_organization_is_closed_to_all_others(
    catalog: "psycopg.Connection[tuple[Any, ...]]", tables: list[tuple[Any, ...]]
) -> None:
    for schema, table, *_, scoped in tables:
        policies = catalog.execute(POLICIES, [f'"{schema}"."{table}"']).fetchall()
        assert policies or table == OPEN, f"{schema}.{table} has no policy"
        for command, using, check in policies:
            if scoped:
                assert command == "*", f"a policy of {schema}.{table} is for {command} only"
                assert {using, check} <= set(CLOSED), f"{schema}.{table}: {using} {check}"
            else:
                # Persons and what proves them belong to no organization: who reads them works for none, or for
                # the organization itself or one of the person's.
                seen = using or SYSTEM
                assert "app.system" in seen or "memberships.user_id" in seen, f"{schema}.{table}: {using}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_role_owns_nothing_and_passes_by_no_policy(
    catalog: "psycopg.Connection[tuple[Any, ...]]", tables: list[tuple[Any, ...]], service: str
) -> None:
    role = f"deskmesh_{service}"
    powers = "rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
    assert catalog.execute(f"select {powers} from pg_roles where rolname = %s", [role]).fetchone() == (False,) * 5
    member = "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = %s"
    assert catalog.execute(member, [role]).fetchone() == (0,)
    owned = (
        "select count(*) from pg_shdepend d join pg_roles r on r.oid = d.refobjid"
        " where r.rolname = %s and d.deptype = 'o'"
    )
    assert catalog.execute(owned, [role]).fetchone() == (0,)
    assert role not in {row[4] for row in tables}
    assert catalog.execute("select has_schema_privilege(%s, %s, 'create')", [role, service]).fetchone() == (False,)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reaches_its_own_schema_only(
    catalog: "psycopg.Connection[tuple[Any, ...]]", tables: list[tuple[Any, ...]], service: str
) -> None:
    role = f"deskmesh_{service}"
    for other in SERVICES:
        [usage] = catalog.execute("select has_schema_privilege(%s, %s, 'usage')", [role, other]).fetchone() or [None]
        assert usage is (other == service)
    for schema, table, *_ in tables:
        if schema != service:
            held = "select has_table_privilege(%s, %s, 'select, insert, update, delete, truncate, references, trigger')"
            assert catalog.execute(held, [role, f'"{schema}"."{table}"']).fetchone() == (False,)


@pytest.mark.parametrize("service", SERVICES)
def test_without_an_organization_a_service_sees_and_writes_nothing(
    postgres: Postgres, tables: list[tuple[Any, ...]], service: str
) -> None:
    url = postgres.url(service).replace("postgresql+asyncpg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        for schema, table, *_, scoped in tables:
            if schema == service and scoped:
                assert connection.execute(f'select count(*) from "{table}"').fetchone() == (0,)


def test_no_function_or_view_looks_past_the_policies(catalog: "psycopg.Connection[tuple[Any, ...]]") -> None:
    definers = (
        "select proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where p.prosecdef and n.nspname = any(%s)"
    )
    assert catalog.execute(definers, [SERVICES]).fetchall() == []
    views = (
        "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('v', 'm') and n.nspname = any(%s)"
    )
    assert catalog.execute(views, [SERVICES]).fetchall() == []

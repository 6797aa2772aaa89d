"""Who may import what. The rules are those of docs/architecture.md; each names what it keeps apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("auth", "sessions", "tickets", "knowledge", "orchestrator", "gateway", "usage", "models")
GENERATED = ("deskmesh.", "buf.", "google.protobuf", "google.rpc", "grpc")
DATABASE = ("sqlalchemy", "asyncpg", "psycopg", "alembic", "pgvector")


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions and type-checking blocks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(paths: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports(path)
        if any(name == prefix.rstrip(".") or name.startswith(prefix.rstrip(".") + ".") for prefix in forbidden)
    ]


def is_edge_of_service(path: Path) -> bool:
    """Servicers, mappings, wiring and adapters: where a service meets the wire and the database."""
    return (
        "adapters" in path.parts
        or path.stem in ("servicer", "mapping", "app", "__main__", "tables")
        or ("servicers" in path.parts or "mappings" in path.parts)
    )


def inner(service: str) -> list[Path]:
    return [path for path in modules(f"services/{service}") if not is_edge_of_service(path)]


@pytest.mark.parametrize("service", SERVICES)
def test_use_cases_and_domain_know_no_wire(service: str) -> None:
    assert inner(service)
    assert breaches(inner(service), GENERATED) == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_adapters_and_tables_know_the_database(service: str) -> None:
    paths = [
        path
        for path in modules(f"services/{service}")
        if "adapters" not in path.parts and path.stem not in ("tables", "app")
    ]
    assert breaches(paths, DATABASE) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    others = tuple(f"services.{other}" for other in SERVICES if other != service)
    assert (
        breaches(modules(f"services/{service}"), (*others, "serve_apps", "laptop", "deskmesh_client", "deskmesh_cli"))
        == []
    )


def test_common_knows_no_service() -> None:
    assert breaches(modules("services/common"), tuple(f"services.{service}" for service in SERVICES)) == []


def test_only_the_serve_apps_know_ray_and_vllm() -> None:
    paths = [path for folder in ("services", "mesh", "laptop", "clients") for path in modules(folder)]
    assert breaches(paths, ("ray", "vllm", "torch", "transformers")) == []


def test_the_client_stands_alone() -> None:
    assert breaches(modules("clients/python"), ("services", "serve_apps", "laptop", "mesh", "deskmesh_cli")) == []


def test_serve_apps_use_only_common_of_the_services() -> None:
    others = tuple(f"services.{service}" for service in SERVICES)
    assert breaches(modules("serve_apps"), (*others, "laptop", "deskmesh_client")) == []


def test_nothing_is_created_at_import() -> None:
    """Engines, channels, settings and clients are made in `__main__` and `app`, never when a module loads."""
    makers = {"create_async_engine", "secure_channel", "insecure_channel", "Redis", "AsyncLLM", "getenv"}
    found = []
    for folder in ("services", "serve_apps", "laptop", "mesh", "clients/python", "clients/cli"):
        for path in modules(folder):
            for statement in ast.parse(path.read_text()).body:
                if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
                    for node in ast.walk(statement):
                        name = node.func if isinstance(node, ast.Call) else None
                        called = (
                            name.attr
                            if isinstance(name, ast.Attribute)
                            else name.id
                            if isinstance(name, ast.Name)
                            else ""
                        )
                        if called in makers or called.endswith("Settings"):
                            found.append(f"{path.relative_to(ROOT)}:{statement.lineno} calls {called}")
    assert found == []

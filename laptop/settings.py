"""What a stack on this machine is called, where it keeps its state and which ports it takes."""

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
TRUST_DOMAIN = "deskmesh.local"
ENVIRONMENT = "dev"

FIRST_BASE_PORT = 7100
FIRST_REPLICA_PORT = 40000
LAST_REPLICA_PORT = 60000


class StackSettings(BaseSettings):
    """Read once from `DESKMESH_*`. Two stacks run side by side if home, edge and base port differ.

    `replica_port` is the first port of Ray Serve's replicas; unless given it moves along with
    `base_port`, so that a second stack's replicas stay clear of the first's.
    """

    model_config = SettingsConfigDict(env_prefix="DESKMESH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    home: Path = PROJECT_ROOT / ".deskmesh"
    edge_port: int = Field(default=8443, ge=1, le=65535)
    base_port: int = Field(default=FIRST_BASE_PORT, ge=1024, le=65000)
    replica_port: int = Field(default=0, ge=0, le=65000)
    # A port of loopback where a Prometheus finds the metrics of every process; 0 for none.
    metrics_port: int = Field(default=0, ge=0, le=65535)
    database_url: str = Field(default="", repr=False)
    redis_url: str = Field(default="", repr=False)
    inference_config: Path = PROJECT_ROOT / "serve_apps" / "configs" / "laptop.yaml"
    # Limits of the gates that deployments must pass, as JSON; docs/models.md has them.
    gates: str = ""
    certificate_hours: float = Field(default=24.0, gt=0)
    log_level: str = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _blank_means_default(cls, values: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in values.items() if value != ""}

    @model_validator(mode="after")
    def _derive(self) -> Self:
        for folder_or_file in ("home", "inference_config"):
            path: Path = getattr(self, folder_or_file)
            object.__setattr__(self, folder_or_file, path.expanduser().resolve())
        if not self.replica_port:
            offset = (self.base_port - FIRST_BASE_PORT) % (LAST_REPLICA_PORT - FIRST_REPLICA_PORT)
            object.__setattr__(self, "replica_port", FIRST_REPLICA_PORT + offset)
        return self

    @cached_property
    def paths(self) -> "StatePaths":
        """The folders inside `home`."""
        return StatePaths(self.home)


class StatePaths:
    """The state folder's layout; creating it is `create`'s job, reading it changes nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.pki = home / "pki"
        self.run = home / "run"
        self.logs = home / "logs"
        self.traces = home / "traces"
        self.postgres = home / "postgres"
        self.valkey = home / "valkey"
        self.secrets = home / "secrets"
        self.mail = home / "mail"
        self.envoy = home / "envoy"
        self.eds = home / "envoy" / "eds"
        self.ray = home / "ray"

    @property
    def ca_certificate(self) -> Path:
        return self.pki / "ca.crt"

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def control_socket(self) -> Path:
        return self.socket("supervisor")

    @property
    def metrics_socket(self) -> Path:
        return self.socket("supervisor.ops")

    @property
    def demo_secrets(self) -> Path:
        return self.secrets / "demo.json"

    @property
    def database_secrets(self) -> Path:
        return self.secrets / "database.json"

    def socket(self, name: str) -> Path:
        """The Unix socket of a process (`postgres` has a folder of its own, see `postgres_run`)."""
        return self.run / f"{name}.sock"

    @property
    def postgres_run(self) -> Path:
        return self.run / "postgres"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make every folder; what holds keys, passwords or people's data is for the owner only."""
        self.home.mkdir(mode=0o755, parents=True, exist_ok=True)
        for public in (self.run, self.envoy, self.eds, self.logs, self.traces, self.ray):
            public.mkdir(mode=0o755, exist_ok=True)
        for private in (self.pki, self.valkey, self.secrets, self.mail, self.logs, self.traces):
            private.mkdir(mode=0o700, exist_ok=True)
            private.chmod(0o700)

"""What every service is told from outside, read once at its start: from `DESKMESH_*`, and secrets also from stores."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.http import is_loopback
from services.common.secrets import StoredSettings


class ServiceSettings(StoredSettings):
    """The settings all services have; each service adds its own by subclassing."""

    # An error tells which setting is wrong, not what all of them are.
    model_config = SettingsConfigDict(env_prefix="DESKMESH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    environment: str = "dev"
    log_level: str = "INFO"

    # postgresql+asyncpg://ROLE:PASSWORD@/DATABASE?host=/FOLDER/OF/THE/SOCKET
    database_url: str = Field(repr=False)
    database_pool_size: int = Field(default=5, ge=1)
    database_timeout_seconds: float = Field(default=10.0, gt=0)
    redis_url: str = Field(repr=False)
    redis_timeout_seconds: float = Field(default=5.0, gt=0)
    # Counting must not hold a call up: after this long a process counts for itself.
    count_timeout_seconds: float = Field(default=0.1, gt=0)

    listen_address: str
    ops_socket: Path
    # The files of this workload's certificate. Where a mesh's proxy beside the process has the mutual TLS there are
    # none: it then listens on loopback, believes the proxy who calls, and calls others without TLS by way of the proxy.
    behind_proxy: bool = False
    tls_cert_file: Path = Path()
    tls_key_file: Path = Path()
    tls_ca_file: Path = Path()
    trust_domain: str = "deskmesh.local"

    # Where auth says which keys sign tokens and which tokens were revoked: the socket of its ops server, or host and
    # port of its HTTP for that, which a mesh's proxies make safe; the address counts where both are set.
    jwks_socket: Path | None = None
    jwks_address: str = ""
    token_issuer: str = "https://deskmesh.local"  # noqa: S105 - a name, not a secret
    token_audience: str = "deskmesh"  # noqa: S105 - a name, not a secret

    # "unix:/path/of/a.sock" or "host:port"; empty exports nothing.
    otlp_endpoint: str = ""
    # Share of calls traced when the caller did not decide; a caller's decision always holds.
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)

    # A unary call without a deadline gets the first; no unary call may ask for more than the second.
    default_deadline_seconds: float = Field(default=30.0, gt=0)
    maximum_deadline_seconds: float = Field(default=120.0, gt=0)
    maximum_message_bytes: int = Field(default=2 * 1024 * 1024, gt=0)
    drain_seconds: float = Field(default=20.0, ge=0)

    # How long a request_id is known: a call repeated later has its effect again.
    request_id_days: float = Field(default=7.0, gt=0)
    purge_interval_seconds: float = Field(default=3600.0, gt=0)
    purge_batch_rows: int = Field(default=1000, ge=1)

    @property
    def issuer_at(self) -> Path | str:
        """Where auth's keys and revocations are asked for."""
        return self.jwks_address or self.jwks_socket or Path()

    @model_validator(mode="after")
    def _knows_whose_tokens_hold(self) -> Self:
        if self.jwks_socket is None and not self.jwks_address:
            raise ValueError("either jwks_socket or jwks_address is needed")
        return self

    @model_validator(mode="after")
    def _knows_who_calls(self) -> Self:
        if self.behind_proxy:
            if self.listen_address and not is_loopback(self.listen_address):
                raise ValueError("behind a proxy a service listens on loopback only")
        elif Path() in (self.tls_cert_file, self.tls_key_file, self.tls_ca_file):
            raise ValueError("tls_cert_file, tls_key_file and tls_ca_file are needed, unless behind_proxy is set")
        return self

    @property
    def spiffe_prefix(self) -> str:
        """What the SPIFFE ID of every workload of this environment starts with; its name follows."""
        return f"spiffe://{self.trust_domain}/ns/{self.environment}/sa/"

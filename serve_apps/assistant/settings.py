"""What the process that runs the application is told from outside, read once from `DESKMESH_*`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


class AssistantSettings(BaseSettings):
    """Ports: the inference sidecar has `base_port` + 10, Ray's own processes those from `base_port` + 20 to + 99."""

    model_config = SettingsConfigDict(env_prefix="DESKMESH_", frozen=True, extra="ignore")

    home: Path = Path(".deskmesh")
    base_port: int = Field(default=7100, ge=1024, le=65000)
    # The first port of the replicas' gRPC servers.
    replica_port: int = Field(default=40000, ge=1024, le=65000)
    inference_config: Path = CONFIGS / "laptop.yaml"
    environment: str = "dev"
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    # A replica gets this long to end its calls; the whole process ends within about ten seconds more.
    drain_seconds: float = Field(default=15.0, ge=0)
    object_store_mebibytes: int = Field(default=80, ge=75)

    @property
    def state(self) -> Path:
        """The state folder, absolute."""
        return self.home.expanduser().resolve()

    @property
    def endpoints_folder(self) -> Path:
        """Where Envoy looks for the replicas."""
        return self.state / "envoy" / "eds"

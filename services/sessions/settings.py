"""What the sessions service is told from outside, besides what every service is."""

from pydantic import Field

from services.common.settings import ServiceSettings


class SessionsSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # The sidecar in front of the models, for their tokenizers.
    inference_address: str
    inference_timeout_seconds: float = Field(default=5.0, gt=0)

    maximum_watchers: int = Field(default=12_000, gt=0)
    # A stream with more than this waiting for it is cut.
    watcher_queue_events: int = Field(default=1_024, gt=0)
    watcher_queue_bytes: int = Field(default=1024 * 1024, gt=0)
    watch_heartbeat_seconds: float = Field(default=15.0, gt=0)
    # How often streams are compared with the log, so that a lost notice costs no more than this.
    watch_check_seconds: float = Field(default=0.8, gt=0)

    expiry_interval_seconds: float = Field(default=5.0, gt=0)
    expiry_batch: int = Field(default=20, gt=0)

"""What the models service is told from outside, besides what every service is."""

from pydantic import Field

from services.common.settings import ServiceSettings


class ModelsSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # The sidecar in front of this environment's routers and replicas.
    inference_address: str
    # How long a router may take to answer.
    router_timeout_seconds: float = Field(default=5.0, gt=0)
    # How often the routers are looked at and told; a change is told at once.
    look_seconds: float = Field(default=5.0, gt=0)
    # How long what was read of the registry is kept in Valkey; a change ends it sooner.
    cache_seconds: int = Field(default=120, ge=1)

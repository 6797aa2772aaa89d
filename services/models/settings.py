"""What the models service is told from outside, besides what every service is."""

from pydantic import Field

from services.common.settings import ServiceSettings
from services.models.limits import Limits


class ModelsSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # The sidecar in front of this environment's routers and replicas.
    inference_address: str
    # How long a router may take to answer.
    router_timeout_seconds: float = Field(default=5.0, gt=0)
    # How often the routers are looked at and told; a change is told at once.
    look_seconds: float = Field(default=5.0, gt=0)
    # How often a deployment that is under way is looked at.
    step_seconds: float = Field(default=1.0, gt=0)
    # How long a new version may take until its replicas are ready.
    start_seconds: float = Field(default=420.0, gt=0)
    # How long each share of a deployment is kept before it is judged, and how long the last one, everybody. That one
    # must be longer than routers keep a conversation where it is (30 s).
    share_seconds: float = Field(default=10.0, ge=0)
    last_share_seconds: float = Field(default=35.0, ge=0)
    # The limits of the gates, and how much is repeated in the shadow, as JSON; what it leaves out is as usual.
    gates: Limits = Limits()
    # How long what was read of the registry is kept in Valkey; a change ends it sooner.
    cache_seconds: int = Field(default=120, ge=1)

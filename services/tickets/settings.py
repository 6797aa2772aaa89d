"""What the tickets service is told from outside, besides what every service is."""

from pydantic import Field

from services.common.settings import ServiceSettings


class TicketsSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # Where the conversations are that tickets come from.
    sessions_address: str
    # Who knows which people are agents.
    auth_address: str
    # How long another service may take to answer a question that a call waits for.
    lookup_timeout_seconds: float = Field(default=5.0, gt=0)

    # How long telling a conversation of its ticket may take; a call waits for one try of it.
    link_timeout_seconds: float = Field(default=2.0, gt=0)
    link_poll_seconds: float = Field(default=2.0, gt=0)

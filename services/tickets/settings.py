"""What the tickets service is told from outside, besides what every service is."""

from datetime import timedelta

from pydantic import Field

from services.common.settings import ServiceSettings
from services.tickets.domain import Priority, Terms

# Ten years: with more a due time could be one that no calendar has.
_MOST_HOURS = 87_600


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

    # How many hours after its opening a ticket of each priority should be solved by.
    due_hours_low: float = Field(default=168.0, gt=0, le=_MOST_HOURS)
    due_hours_normal: float = Field(default=72.0, gt=0, le=_MOST_HOURS)
    due_hours_high: float = Field(default=24.0, gt=0, le=_MOST_HOURS)
    due_hours_urgent: float = Field(default=4.0, gt=0, le=_MOST_HOURS)

    # A solved ticket that nobody opens again closes for good after so many days.
    close_solved_days: float = Field(default=4.0, gt=0, le=36_500)
    close_poll_seconds: float = Field(default=60.0, gt=0)

    @property
    def terms(self) -> Terms:
        """The policy of due times."""
        return {
            Priority.LOW: timedelta(hours=self.due_hours_low),
            Priority.NORMAL: timedelta(hours=self.due_hours_normal),
            Priority.HIGH: timedelta(hours=self.due_hours_high),
            Priority.URGENT: timedelta(hours=self.due_hours_urgent),
        }

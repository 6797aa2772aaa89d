"""The process of the tickets service."""

from services.common.server import run
from services.tickets.app import wire
from services.tickets.settings import TicketsSettings

if __name__ == "__main__":
    run("tickets", TicketsSettings(), wire)

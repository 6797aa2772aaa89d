"""The process of the sessions service; reads `DESKMESH_*` and serves until SIGTERM."""

from services.common.server import run
from services.sessions.app import wire
from services.sessions.settings import SessionsSettings

if __name__ == "__main__":
    run("sessions", SessionsSettings(), wire)

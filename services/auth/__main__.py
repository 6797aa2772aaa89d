"""The auth process: `python -m services.auth`."""

from services.auth.app import wire
from services.auth.settings import AuthSettings
from services.common.server import run

if __name__ == "__main__":
    run("auth", AuthSettings(), wire)

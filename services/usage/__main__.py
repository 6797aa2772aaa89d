"""The process of the usage service."""

from services.common.server import run
from services.usage.app import wire
from services.usage.settings import UsageSettings

if __name__ == "__main__":
    run("usage", UsageSettings(), wire)

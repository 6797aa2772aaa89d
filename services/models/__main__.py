"""The process of the models service."""

from services.common.server import run
from services.models.app import wire
from services.models.settings import ModelsSettings

if __name__ == "__main__":
    run("models", ModelsSettings(), wire)

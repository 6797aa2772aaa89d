"""`python -m services.orchestrator`."""

from services.common.server import run
from services.orchestrator.app import wire
from services.orchestrator.settings import OrchestratorSettings

if __name__ == "__main__":
    run("orchestrator", OrchestratorSettings(), wire)

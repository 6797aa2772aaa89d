"""`python -m services.knowledge`: the service as a process."""

from services.common.server import run
from services.knowledge.app import wire
from services.knowledge.settings import KnowledgeSettings

if __name__ == "__main__":
    run("knowledge", KnowledgeSettings(), wire)

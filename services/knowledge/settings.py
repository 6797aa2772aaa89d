"""What this service is told from outside beyond what every service is told."""

from services.common.settings import ServiceSettings


class KnowledgeSettings(ServiceSettings):
    """Read from `DESKMESH_*`."""

    # "host:port" of the inference service's sidecar.
    inference_address: str

"""`python -m serve_apps.assistant`: the models of one machine, in the foreground."""

import asyncio
import logging
import os
import sys

from pydantic import ValidationError

from serve_apps.assistant.cluster import Cluster, ClusterError
from serve_apps.assistant.config import ConfigError, load_config
from serve_apps.assistant.settings import AssistantSettings
from services.common.logs import configure_logging


def main() -> int:
    """Run until told to stop; 0 then, 1 when it cannot go on, 2 when it is configured wrongly."""
    configure_logging("ray", os.environ.get("DESKMESH_LOG_LEVEL", "INFO"))
    logger = logging.getLogger(__name__)
    try:
        settings = AssistantSettings()
        config = load_config(settings.inference_config)
    except (ConfigError, ValidationError) as error:
        logger.critical("configuration refused: %s", error)
        return 2
    cluster = Cluster(settings)
    # Ray reads its environment when it is imported, and hands it on to whatever it starts.
    os.environ |= cluster.environment()
    from serve_apps.assistant import run

    try:
        asyncio.run(run.run(settings, config, cluster))
    except (run.Broken, ClusterError, FileNotFoundError) as error:
        logger.critical("giving up: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

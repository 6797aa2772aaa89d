"""`python -m laptop`: the supervisor in the foreground; `deskmesh up` starts it detached."""

import logging
import sys

from laptop import daemon
from laptop.settings import StackSettings
from laptop.stack import prepare


def main() -> int:
    settings = StackSettings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return daemon.run(settings, prepare)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m laptop`: the supervisor in the foreground; `deskmesh up` starts it detached."""

import sys

from laptop import daemon
from laptop.settings import StackSettings
from laptop.stack import prepare
from services.common.logs import configure_logging


def main() -> int:
    settings = StackSettings()
    configure_logging("supervisor", settings.log_level)
    return daemon.run(settings, prepare)


if __name__ == "__main__":
    sys.exit(main())

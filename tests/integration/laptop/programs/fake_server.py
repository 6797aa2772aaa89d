"""A fake server: listens on a Unix socket (first argument) until SIGTERM.

With a second argument it first starts a grandchild in a session of its own that ignores SIGTERM, as Ray and vLLM do,
and writes its PID into the file of that name.
"""

import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if len(sys.argv) > 2:
        orphan = subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
        Path(sys.argv[2]).write_text(str(orphan.pid))
    path = Path(sys.argv[1])
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        while True:
            listener.accept()[0].close()
            logging.warning("somebody called")


if __name__ == "__main__":
    main()

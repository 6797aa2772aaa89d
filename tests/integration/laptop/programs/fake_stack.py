"""A supervisor with fake servers instead of the platform; its home comes from the environment as always."""

import sys
from pathlib import Path

from laptop import daemon
from laptop.daemon import Stack
from laptop.pki import LocalPki, Workload
from laptop.probes import UnixSocketProbe
from laptop.settings import StackSettings
from laptop.specs import Listener, ProcessSpec

SERVER = str(Path(__file__).with_name("fake_server.py"))


def prepare(settings: StackSettings, pki: LocalPki) -> Stack:
    workloads = (Workload("first"),)
    pki.ensure(workloads)

    def note_start() -> None:
        with (settings.home / "starts").open("a") as starts:
            starts.write("x")

    first, second = settings.paths.socket("first"), settings.paths.socket("second")
    specs = (
        ProcessSpec(
            name="second",
            argv=(sys.executable, SERVER, str(second)),
            ready=UnixSocketProbe(second),
            depends_on=("step",),
            grace_seconds=5,
        ),
        ProcessSpec(name="step", argv=(sys.executable, "-c", "print('done')"), depends_on=("first",), one_shot=True),
        ProcessSpec(
            name="first",
            argv=(sys.executable, SERVER, str(first), str(settings.home / "orphan.pid")),
            ready=UnixSocketProbe(first),
            grace_seconds=5,
            listeners=(Listener(str(first), tls=True),),
            before_start=note_start,
        ),
        *broken_process(settings),
    )

    def renew() -> None:
        pki.ensure(workloads)

    return Stack(specs, (renew,))


def broken_process(settings: StackSettings) -> tuple[ProcessSpec, ...]:
    """A process that never starts, if the test asked for one by a file in the home."""
    if not (settings.home / "want-broken").exists():
        return ()
    return (ProcessSpec(name="broken", argv=(sys.executable, "-c", "raise SystemExit('no luck')"), one_shot=True),)


if __name__ == "__main__":
    sys.exit(daemon.run(StackSettings(), prepare))

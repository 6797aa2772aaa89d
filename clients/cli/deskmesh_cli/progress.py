"""Shows a start or a stop as it happens: a line for each part, and what is still awaited."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from rich.status import Status

from deskmesh_cli.console import err

Snapshot = dict[str, Any]

# What takes long, in words; the rest is called by its name.
WORDS = {
    "weights": "preparing the model",
    "ray": "starting Ray and vLLM",
    "migrations": "bringing the database up to date",
    "seed": "loading the demo shop",
}


def _parts(snapshot: Snapshot) -> tuple[dict[str, Any], ...]:
    return (*snapshot["steps"], *snapshot["processes"])


class _Progress:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._seen: dict[str, str] = {}
        self._spinner = Status("", console=err)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._spinner.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spinner.stop()

    def _say(self, text: str) -> None:
        if not self._quiet:
            err.print(text)

    def _changed(self, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
        for one in _parts(snapshot):
            if self._seen.get(one["name"]) != one["state"]:
                self._seen[one["name"]] = one["state"]
                yield one


class StartProgress(_Progress):
    """For `up`; `resumed` when the stack ran already."""

    def __init__(self, *, quiet: bool, resumed: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._resumed = resumed

    def follow(self, snapshots: Iterator[Snapshot]) -> Iterator[Snapshot]:
        """Pass the snapshots on, showing each."""
        for snapshot in snapshots:
            if self._resumed and not self._seen:
                # What was ready before is no news.
                self._seen = {
                    one["name"]: one["state"] for one in _parts(snapshot) if one["state"] in ("ready", "done")
                }
            for one in self._changed(snapshot):
                self._show(one)
            self._spinner.update(self._awaited(snapshot))
            yield snapshot

    def _show(self, one: dict[str, Any]) -> None:
        name, state = one["name"], one["state"]
        if state in ("ready", "done") and one["ready_after_seconds"] is not None:
            self._say(f"[green]✓[/] {name} [dim]{one['ready_after_seconds']:.1f} s[/]")
        elif state == "starting" and one["usual_seconds"] >= 10:
            self._say(f"  {WORDS.get(name, name)}: usually {one['usual_seconds']:.0f} s")
        elif state in ("backoff", "failed"):
            self._say(f"[red]✗[/] {name} {one['problem']}")

    @staticmethod
    def _awaited(snapshot: Snapshot) -> str:
        going = [one for one in _parts(snapshot) if one["state"] == "starting"]
        if not going:
            return "…"
        longest = max(going, key=lambda one: float(one["usual_seconds"]))
        name = WORDS.get(longest["name"], f"starting {longest['name']}")
        return f"{name}: {longest['running_seconds']:.0f} of usually {longest['usual_seconds']:.0f} s"


class StopProgress(_Progress):
    """For `down`."""

    def show(self, snapshot: Snapshot) -> None:
        """Show what still runs."""
        running = [one["name"] for one in snapshot["processes"] if one["state"] != "stopped"]
        self._spinner.update(f"ending {', '.join(running)}" if running else "tidying up")

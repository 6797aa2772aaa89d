"""Old and new versions side by side: what is started, what is ended, and when."""

import json
from collections.abc import Sequence

from serve_apps.assistant import yaml_file
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import ModelConfig, TargetConfig
from serve_apps.assistant.control import ControlBoard, Start, Targets, base_of
from serve_apps.assistant.fleet import FAREWELL_SECONDS, LONGEST_FAREWELL_SECONDS, Fleet
from serve_apps.assistant.versions import version_of
from tests.integration.serve_apps.conftest import MemoryStore
from tests.unit.serve_apps.test_versions import Clock


def text(queued: int, least: int = 1, **changes: object) -> str:
    model = {
        "name": "simulated-m",
        "application": "m",
        "context_length": 1000,
        "max_queued_requests": queued,
        "engine": {"kind": "simulated"},
        "autoscaling": {"min_replicas": least},
    }
    return json.dumps({"models": [model | changes]})


def adapted(*names: str, queued: int = 1) -> str:
    """A target whose model has these adapters."""
    return text(
        queued,
        name="m",
        engine={"kind": "vllm", "max_adapters": 2},
        source={"kind": "path", "path": "/weights"},
        adapters=[{"name": name, "source": {"kind": "path", "path": f"/adapters/{name}"}} for name in names],
    )


def version(target: str) -> str:
    return version_of(yaml_file.parse(target, TargetConfig, "t").models[0])


OLD, NEW = text(1), text(2)
OLD_VERSION, NEW_VERSION = version(OLD), version(NEW)
NEW_APPLICATION = f"m-{NEW_VERSION}"


class Serving:
    """Notes what it is asked for; `problem` is what deploying says."""

    def __init__(self) -> None:
        self.applications = ["m"]
        # By application, how its adapters were changed.
        self.adapters: dict[str, list[set[str]]] = {}
        self.problem = ""
        self.away = False

    def deploy(self, name: str, model: ModelConfig) -> None:
        if self.problem:
            raise FileNotFoundError(self.problem)
        if name in self.applications:
            self.adapters.setdefault(name, []).append({adapter.name for adapter in model.adapters})
        else:
            self.applications.append(name)

    def delete(self, name: str) -> None:
        if self.away:
            raise RuntimeError("no controller")
        self.applications.remove(name)


class House:
    """A fleet that runs the old target."""

    def __init__(self, old: str = OLD) -> None:
        self.old = old
        self.board = ControlBoard(MemoryStore())
        self.board.begin(old)
        self.serving, self.clock = Serving(), Clock()
        self.fleet = Fleet(yaml_file.parse(old, TargetConfig, "t"), self.board, self.serving, self.clock)
        self.reports = [report("a", version(old))]
        self.running: set[str] = set()

    def aim(self, stable: str, candidate: str = "") -> None:
        self.clock.now += 1
        self.board.aim(Targets(base_of(self.old), stable, candidate, as_of=self.clock.now))

    def step(self, **troubles: str) -> None:
        self.fleet.step(troubles, self.reports, self.running)


def report(replica: str, version: str, running: int = 0, adapters: Sequence[str] = (), **refused: str) -> Report:
    return Report(
        "m", replica, "simulated-m", draining=False, running=running, waiting=0, kv_cache_usage=0.0, capacity=9,
        sequence=1, version=version, adapters=adapters, refused_adapters=refused,
    )  # fmt: skip


def test_a_candidate_starts_beside_and_the_old_one_leaves_only_after_it_serves() -> None:
    house = House()
    house.aim(OLD, NEW)
    house.step()
    house.step()
    assert house.serving.applications == ["m", NEW_APPLICATION], "started once"
    assert house.fleet.essential == ("router", "m")

    house.aim(NEW)
    house.step()
    house.clock.now += LONGEST_FAREWELL_SECONDS + 1
    house.step()
    assert "m" in house.serving.applications, "nothing ends before what takes its place is ready"

    house.reports = [report("a", OLD_VERSION, running=1), report("b", NEW_VERSION)]
    house.step()
    house.clock.now += FAREWELL_SECONDS + 1
    house.step()
    assert "m" in house.serving.applications, "it has something to finish"
    house.reports = [report("a", OLD_VERSION), report("b", NEW_VERSION)]
    house.step()
    assert house.serving.applications == [NEW_APPLICATION]
    assert house.fleet.essential == ("router", NEW_APPLICATION)


def test_what_is_taken_back_ends_and_may_come_again() -> None:
    house = House()
    house.aim(OLD, NEW)
    house.step()
    house.aim(OLD)
    house.step()
    house.clock.now += FAREWELL_SECONDS + 1
    house.step()
    assert house.serving.applications == ["m"]
    house.aim(OLD, NEW)
    house.step()
    assert house.serving.applications == ["m", NEW_APPLICATION]


def test_a_start_that_fails_is_said_and_touches_nothing_else() -> None:
    house = House()
    house.aim(OLD, NEW)
    house.step()
    house.step(**{NEW_APPLICATION: "RuntimeError: the engine did not start"})
    failed = Start("simulated-m", NEW_VERSION, failed=True, message="RuntimeError: the engine did not start")
    assert house.board.progress().starts == [Start("simulated-m", OLD_VERSION, failed=False, message=""), failed]
    assert "m" in house.serving.applications


def test_what_failed_is_ended_at_once_and_tried_again_is_tried_anew() -> None:
    house = House()
    trouble = {NEW_APPLICATION: "RuntimeError: half of the weights"}
    house.aim(OLD, NEW)
    house.step()
    house.step(**trouble)
    house.aim(OLD)
    house.step(**trouble)
    assert house.serving.applications == ["m"]
    house.aim(OLD, NEW)
    house.step()
    assert not any(start.failed for start in house.board.progress().starts)


def test_what_cannot_be_ended_now_is_ended_later() -> None:
    house = House()
    house.aim(OLD, NEW)
    house.step()
    house.aim(OLD)
    house.step()
    house.clock.now += FAREWELL_SECONDS + 1
    house.serving.away = True
    house.step()
    assert house.serving.applications == ["m", NEW_APPLICATION]
    house.serving.away = False
    house.step()
    assert house.serving.applications == ["m"]


def test_a_model_that_keeps_no_replica_gives_way_and_takes_over_asleep() -> None:
    old, new = text(1, least=0), text(2, least=0)
    application = f"m-{version(new)}"
    house = House(old)
    house.reports = []
    house.running = {"m"}
    house.aim(old, new)
    house.step()
    assert house.board.progress().starts == [
        Start("simulated-m", version(old), failed=False, message="", asleep=True),
        Start("simulated-m", version(new), failed=False, message=""),
    ], "what has not started is not asleep"

    house.reports = [report("b", version(new))]
    house.running |= {application}
    house.step()
    assert not house.board.progress().starts[1].asleep
    house.aim(new)
    house.reports = []
    house.step()
    house.clock.now += FAREWELL_SECONDS + 1
    house.step()
    assert house.serving.applications == [application], "the old one does not stay for one that sleeps"
    assert [start.asleep for start in house.board.progress().starts] == [True]


def test_weights_that_are_not_there_are_said() -> None:
    house = House()
    house.serving.problem = "no model in /nowhere"
    house.aim(OLD, NEW)
    house.step()
    assert house.board.progress().starts[1].message == "no model in /nowhere"


def test_a_file_that_cannot_be_read_is_said() -> None:
    house = House()
    house.aim(OLD, "models: 5")
    house.step()
    assert any(start.failed for start in house.board.progress().starts)
    assert house.serving.applications == ["m"]


def test_what_was_promoted_is_taken_up_unless_the_file_is_another() -> None:
    house = House()
    house.aim(NEW, OLD)
    begun = house.board.begin(OLD)
    assert (begun.stable, begun.candidate) == (NEW, "")
    assert house.board.begin(text(3)).stable == text(3)


def test_a_word_about_another_start_or_an_older_one_does_not_count() -> None:
    house = House()
    house.aim(OLD, NEW)
    aimed = house.board.targets()
    house.board.aim(Targets("other", NEW, as_of=99.0))
    house.board.aim(Targets(base_of(OLD), NEW, as_of=0.5))
    assert house.board.targets() == aimed


def test_adapters_that_are_tried_come_beside_those_that_serve_and_into_the_replicas_that_run() -> None:
    old, new = adapted("polite"), adapted("brief")
    house = House(old)
    house.reports = [report("a", version(old), adapters=("polite",))]
    house.aim(old)
    house.step()
    assert house.board.progress().in_place
    house.aim(old, new)
    house.step()
    house.step()
    assert house.serving.adapters == {"m": [{"polite", "brief"}]}, "asked for once, of what runs already"
    assert not house.board.progress().in_place

    house.reports = [
        report("a", version(old), adapters=("brief", "polite")),
        report("b", version(old), adapters=("polite",)),
    ]
    house.step()
    assert not house.board.progress().in_place, "the other replica is still at it"
    house.reports = house.reports[:1]
    house.step()
    progress, targets = house.board.progress(), house.board.targets()
    assert targets is not None
    assert (progress.in_place, progress.mark) == (True, targets.mark)

    house.aim(new)
    house.step()
    assert house.serving.adapters["m"][1:] == [{"brief"}]
    assert house.serving.applications == ["m"], "no replica was replaced"


def test_an_adapter_that_a_replica_refuses_is_said_only_while_it_is_tried() -> None:
    old, new = adapted("polite"), adapted("polite", "large")
    house = House(old)
    house.aim(old, new)
    house.reports = [report("a", version(old), adapters=("polite",), large="its rank is 64")]
    house.step()
    said = [start.message for start in house.board.progress().starts if start.failed]
    assert said == ["adapter large: its rank is 64"]
    house.aim(old)
    house.step()
    assert not any(start.failed for start in house.board.progress().starts)
    assert house.serving.adapters["m"] == [{"polite", "large"}, {"polite"}]


def test_an_adapter_refused_by_a_new_version_of_its_model_is_said() -> None:
    old, new = adapted("polite"), adapted("polite", "large", queued=2)
    house = House(old)
    house.aim(old, new)
    house.step()
    house.reports.append(report("b", version(new), adapters=("polite",), large="its rank is 64"))
    house.step()
    assert [start.message for start in house.board.progress().starts if start.failed] == [
        "adapter large: its rank is 64"
    ]


def test_adapters_wait_while_the_controller_is_away() -> None:
    house = House(adapted())
    house.reports = [report("a", version(adapted()))]
    house.aim(adapted(), adapted("polite"))
    house.serving.problem = "no controller"
    house.step()
    assert not house.board.progress().in_place
    house.serving.problem = ""
    house.step()
    assert house.serving.adapters == {"m": [{"polite"}]}

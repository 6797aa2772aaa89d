"""Brings what runs to what should run: a Serve application for each version of a model, old and new side by side."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serve_apps.assistant import yaml_file
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import ConfigError, ModelConfig, TargetConfig
from serve_apps.assistant.control import ControlBoard, Progress, Start, Targets
from serve_apps.assistant.versions import version_of

logger = logging.getLogger(__name__)

# After a version is no longer wanted it gets requests for as long as leases hold and routers need to hear of it.
FAREWELL_SECONDS = 8.0
# What its replicas have not answered by then ends with them.
LONGEST_FAREWELL_SECONDS = 300.0


class Serving(Protocol):
    """Ray Serve."""

    def deploy(self, name: str, model: ModelConfig) -> None:
        """Begin to run a model as this application; one that runs takes over the model's adapters. Raises
        FileNotFoundError."""

    def delete(self, name: str) -> None:
        """End an application; its replicas drain first."""


@dataclass
class _Run:
    model: ModelConfig
    application: str
    unwanted_since: float | None = None
    failed: str = ""


@dataclass
class _Wanted:
    """The models that should run and the adapters that are only tried, by version; why a file cannot be used."""

    models: dict[str, ModelConfig] = field(default_factory=dict)
    tried: dict[str, set[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Fleet:
    """The versions that run. `step` is called again and again; it does what is next and never waits."""

    def __init__(
        self,
        config: TargetConfig,
        board: ControlBoard,
        serving: Serving,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._serving = serving
        self._clock = clock
        self._parsed: dict[str, TargetConfig | str] = {}
        self._runs = {version_of(model): _Run(model, model.application) for model in config.models}
        self._always = tuple(one for one in config.applications if one in ("router", "embedder"))
        self._noted = Progress()

    @property
    def essential(self) -> tuple[str, ...]:
        """The applications that serve: without them nothing works. What is being tried or leaving is not among them."""
        targets = self._board.targets()
        stable = self._config(targets.stable) if targets is not None else ""
        models = () if isinstance(stable, str) else stable.models
        runs = (self._runs.get(version_of(model)) for model in models)
        return (*self._always, *(run.application for run in runs if run is not None))

    def step(self, troubles: Mapping[str, str], reports: Sequence[Report], running: Collection[str] = ()) -> None:
        """Start what should run and does not, end what runs and should not, and note how it fares.

        `troubles` say by application why its replicas do not start; `running` are the applications that have as many
        replicas as they should, be it none.
        """
        targets = self._board.targets()
        if targets is None:
            return
        wanted = self._wanted(targets)
        starts = []
        in_place = True
        ready = {report.version for report in reports if not report.draining}
        for version, model in wanted.models.items():
            run = self._runs.get(version) or self._begin(version, model)
            run.unwanted_since = None
            own = [one for one in reports if one.version == version and not one.draining]
            self._change_adapters(run, model)
            tried = wanted.tried.get(version, ())
            wanted.problems += [problem for one in own for problem in _refused(tried, one)]
            in_place = in_place and all(_has_adapters(model, one) for one in own)
            failed = run.failed or troubles.get(run.application, "")
            asleep = not model.autoscaling.min_replicas and run.application in running and version not in ready
            starts.append(Start(model.name, version, failed=bool(failed), message=failed, asleep=asleep))
        ready |= {start.version for start in starts if start.asleep}
        stable = self._config(targets.stable)
        if isinstance(stable, TargetConfig) and {version_of(model) for model in stable.models} <= ready:
            for version in [one for one in self._runs if one not in wanted.models]:
                self._leave(version, reports, troubles)
        starts += [Start("", "", failed=True, message=problem) for problem in wanted.problems]
        progress = Progress(targets.mark, starts, in_place)
        if progress != self._noted:
            self._noted = progress
            self._board.note(progress)

    def _wanted(self, targets: Targets) -> _Wanted:
        """What should run; while a file is tried, its adapters come beside those that serve."""
        wanted = _Wanted()
        for text in filter(None, (targets.stable, targets.candidate)):
            config = self._config(text)
            if isinstance(config, str):
                wanted.problems.append(config)
                continue
            for model in config.models:
                version = version_of(model)
                serving = wanted.models[version].adapters if version in wanted.models else ()
                added = tuple(one for one in model.adapters if one not in serving)
                wanted.models[version] = model.model_copy(update={"adapters": (*serving, *added)})
                if text == targets.candidate:
                    wanted.tried[version] = {one.name for one in added}
        return wanted

    def _change_adapters(self, run: _Run, model: ModelConfig) -> None:
        """Give what runs the adapters that it should have."""
        if run.model.adapters == model.adapters or run.failed:
            return
        names = [one.name for one in model.adapters]
        logger.info("changing adapters", extra={"model": model.name, "adapters": names})
        try:
            self._serving.deploy(run.application, model)
        except Exception:
            # As while the controller is started again; the next step tries it again.
            logger.exception("adapters cannot be changed yet", extra={"model": model.name})
            return
        run.model = model

    def _begin(self, version: str, model: ModelConfig) -> _Run:
        run = self._runs[version] = _Run(model, f"{model.application}-{version}")
        logger.info("starting a version", extra={"model": model.name, "version": version})
        try:
            self._serving.deploy(run.application, model)
        except Exception as error:
            logger.exception("a version cannot be started", extra={"model": model.name, "version": version})
            run.failed = str(error) or type(error).__name__
        return run

    def _leave(self, version: str, reports: Sequence[Report], troubles: Mapping[str, str]) -> None:
        run, now = self._runs[version], self._clock()
        if run.unwanted_since is None:
            run.unwanted_since = now
        left = now - run.unwanted_since
        own = [one for one in reports if one.version == version]
        busy = any(one.running or one.waiting for one in own)
        # What never started owes nobody an answer; and tried again, it must not be taken for what failed before.
        failed = not own and (run.failed or run.application in troubles)
        if not failed and (left < FAREWELL_SECONDS or (busy and left < LONGEST_FAREWELL_SECONDS)):
            return
        logger.info("ending a version", extra={"model": run.model.name, "version": version})
        try:
            self._serving.delete(run.application)
        except Exception:
            # As while the controller is started again; the next step tries it again.
            logger.exception("a version cannot be ended yet", extra={"model": run.model.name, "version": version})
            return
        del self._runs[version]

    def _config(self, text: str) -> TargetConfig | str:
        if text not in self._parsed:
            try:
                self._parsed[text] = yaml_file.parse(text, TargetConfig, "target")
            except ConfigError as error:
                self._parsed[text] = str(error)
        return self._parsed[text]


def _has_adapters(model: ModelConfig, report: Report) -> bool:
    """Whether a replica has taken up the model's adapters, be it that it refused some."""
    return {*report.adapters, *report.refused_adapters} == {one.name for one in model.adapters}


def _refused(names: Collection[str], report: Report) -> list[str]:
    """Why a replica does not take some of these adapters."""
    return [f"adapter {name}: {problem}" for name, problem in report.refused_adapters.items() if name in names]

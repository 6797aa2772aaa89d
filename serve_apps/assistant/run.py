"""Runs the application on one machine: starts Ray, deploys, keeps Envoy's endpoints true, and ends all of it."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Mapping

import ray
from ray import serve
from ray.serve.config import ProxyLocation
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, LoggingConfig

from serve_apps.assistant import processes, yaml_file
from serve_apps.assistant.app import build_apps, language_model
from serve_apps.assistant.board import Board, HeadStore
from serve_apps.assistant.cluster import Cluster
from serve_apps.assistant.config import ConfigError, ModelConfig, TargetConfig
from serve_apps.assistant.control import NAMESPACE as CONTROL
from serve_apps.assistant.control import ControlBoard, ControlFile
from serve_apps.assistant.endpoints import EndpointFiles
from serve_apps.assistant.fleet import Fleet
from serve_apps.assistant.loopback import HOST
from serve_apps.assistant.replica import ReplicaSettings
from serve_apps.assistant.settings import AssistantSettings

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
STATUS_SECONDS = 2.0
# An application that is not running for so long will not come back by itself.
PATIENCE_SECONDS = 300.0
# What Serve says of a deployment whose replica raised.
NOT_STARTED = "A replica failed to start"


class Broken(Exception):
    """The application cannot recover by itself; the supervisor should start it anew."""


async def run(settings: AssistantSettings, config: TargetConfig, cluster: Cluster) -> None:
    """Serve until SIGTERM or SIGINT. Raises Broken, ClusterError, FileNotFoundError."""
    stop = asyncio.Event()
    _on_signals(stop)
    processes.adopt_orphans()
    files = EndpointFiles(settings.endpoints_folder, config.applications)
    # Addresses of an earlier run may belong to somebody else by now, and its sockets to nobody.
    files.update(())
    for application in config.applications:
        for socket in (settings.state / "run").glob(f"{application}-[0-9]*.sock"):
            socket.unlink(missing_ok=True)
    try:
        started = time.monotonic()
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(_connect, cluster)
        # Ray's core has put a handler of its own in place, which ends the process on the spot.
        _on_signals(stop)
        control = ControlFile(settings.state / "run" / "control.json", HeadStore(CONTROL))
        await asyncio.to_thread(control.restore)
        board = ControlBoard(HeadStore(CONTROL))
        config = await asyncio.to_thread(_taken_up, settings, config, board)
        replica = _replica_settings(settings)
        await asyncio.to_thread(_deploy, settings, config, replica)
        fleet = Fleet(config, board, _Serve(settings, replica))
        logger.info("deploying", extra={"seconds": round(time.monotonic() - started, 1)})
        await _watch(cluster, files, control, fleet, stop)
    finally:
        logger.info("stopping")
        await _shut_down(cluster, settings)
        files.update(())
        logger.info("stopped")


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _connect(cluster: Cluster) -> None:
    ray.init(
        address=cluster.address,
        namespace="deskmesh",
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=HOST,
    )


def _taken_up(settings: AssistantSettings, config: TargetConfig, board: ControlBoard) -> TargetConfig:
    """What to start with: what was last promoted in place of this file, if its models are still there."""
    text = settings.inference_config.read_text()
    begun = board.begin(text)
    if begun.stable == text:
        return config
    try:
        promoted = yaml_file.parse(begun.stable, TargetConfig, "promoted target")
        build_apps(promoted, _replica_settings(settings))
    except (FileNotFoundError, ConfigError):
        logger.exception("what was promoted last cannot be started; the file is")
        board.forget()
        board.begin(text)
        return config
    return promoted


def _replica_settings(settings: AssistantSettings) -> ReplicaSettings:
    return ReplicaSettings(
        host=HOST,
        first_port=settings.replica_port,
        run_folder=settings.state / "run",
        environment=settings.environment,
        log_level=settings.log_level,
        otlp_endpoint=settings.otlp_endpoint,
        drain_seconds=settings.drain_seconds,
    )


def _logging(settings: AssistantSettings) -> LoggingConfig:
    return LoggingConfig(encoding="JSON", log_level=settings.log_level, enable_access_log=False)


def _deploy(settings: AssistantSettings, config: TargetConfig, replica: ReplicaSettings) -> None:
    apps = build_apps(config, replica)
    logging_config = _logging(settings)
    serve.start(proxy_location=ProxyLocation.Disabled, logging_config=logging_config)
    targets = [
        serve.RunTarget(target=app, name=name, route_prefix=None, logging_config=logging_config)
        for name, app in apps.items()
    ]
    serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


async def _watch(
    cluster: Cluster, files: EndpointFiles, control: ControlFile, fleet: Fleet, stop: asyncio.Event
) -> None:
    board = Board(HeadStore())
    health = _Health()
    checked = 0.0
    while not stop.is_set():
        processes.reap_orphans()
        if not cluster.is_alive():
            raise Broken("Ray's head or node manager has ended")
        reports = await board.read()
        files.update(reports)
        if time.monotonic() - checked >= STATUS_SECONDS:
            checked = time.monotonic()
            await asyncio.to_thread(control.save)
            applications = await asyncio.to_thread(_applications)
            troubles = {name: said for name, app in applications.items() if (said := _trouble(app))}
            statuses = {name: app.status for name, app in applications.items()}
            running = {name for name, status in statuses.items() if status is ApplicationStatus.RUNNING}
            await asyncio.to_thread(fleet.step, troubles, reports, running)
            health.observe(statuses, fleet.essential, checked)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)


def _applications() -> Mapping[str, ApplicationStatusOverview]:
    """How Serve's applications fare; none while its controller is away, for which it is given time as they are."""
    try:
        applications: Mapping[str, ApplicationStatusOverview] = serve.status().applications
    except Exception:
        logger.warning("Serve does not say how its applications fare", exc_info=True)
        return {}
    return applications


def _trouble(application: ApplicationStatusOverview) -> str:
    """Why a replica did not start, once one has not; Serve itself would try twice more."""
    messages = [one.message for one in application.deployments.values()] + [application.message]
    told = next((one for one in messages if one.startswith(NOT_STARTED)), "")
    # The end of the traceback says what happened.
    refused = "it cannot be started" if application.status is ApplicationStatus.DEPLOY_FAILED else ""
    return told.strip().splitlines()[-1] if told else refused


class _Serve:
    """Ray Serve, as the fleet asks for it."""

    def __init__(self, settings: AssistantSettings, replica: ReplicaSettings) -> None:
        self._settings = settings
        self._replica = replica

    def deploy(self, name: str, model: ModelConfig) -> None:
        """Begin to run a model as this application. Raises FileNotFoundError."""
        logging_config = _logging(self._settings)
        app = language_model(model, self._replica)
        target = serve.RunTarget(target=app, name=name, route_prefix=None, logging_config=logging_config)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def delete(self, name: str) -> None:
        """End an application; its replicas drain first."""
        serve.delete(name, _blocking=False)


class _Health:
    """Says in the log how the applications fare and gives up on one that does not come back."""

    def __init__(self) -> None:
        self._last: dict[str, ApplicationStatus] = {}
        self._since = time.monotonic()

    def observe(self, statuses: dict[str, ApplicationStatus], essential: tuple[str, ...], now: float) -> None:
        """Raises Broken when one of the essential applications is beyond repair."""
        for name, status in statuses.items():
            if status != self._last.get(name):
                self._last[name] = status
                logger.info("application", extra={"application": name, "status": status.value})
            if status is ApplicationStatus.DEPLOY_FAILED and name in essential:
                raise Broken(f"application {name} cannot be deployed; the log above says why")
        if all(statuses.get(name) is ApplicationStatus.RUNNING for name in essential):
            self._since = now
        elif now - self._since > PATIENCE_SECONDS:
            raise Broken(f"the applications have not been running for {PATIENCE_SECONDS:.0f} s")


async def _shut_down(cluster: Cluster, settings: AssistantSettings) -> None:
    if ray.is_initialized() and cluster.is_alive():
        # Serve gives every replica its drain time; a broken one must not hold up the end.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(settings.drain_seconds + 6):
                await asyncio.to_thread(serve.shutdown)
    await asyncio.to_thread(cluster.stop)

"""`ControlService`: keeps what the model registry says where every router finds it, and says what runs."""

import asyncio
import contextlib
import functools
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.inference.v1 import control_service_pb2 as pb
from deskmesh.inference.v1 import control_service_pb2_grpc
from serve_apps.assistant import yaml_file
from serve_apps.assistant.board import Board, Report
from serve_apps.assistant.config import ConfigError, Cost, TargetConfig
from serve_apps.assistant.control import ControlBoard, RegistryState, Start, Targets
from serve_apps.assistant.errors import ModelUnavailable
from serve_apps.assistant.target_check import check_target
from serve_apps.assistant.versions import version_of, versions_of
from services.common.interceptors.call import RpcContext
from services.common.server import ServicerRegistration


class ControlServicer(control_service_pb2_grpc.ControlServiceServicer):
    """Any router takes it for all of them."""

    def __init__(self, control: ControlBoard, board: Board) -> None:
        self._control = control
        self._board = board
        # A check starts a process and takes a gigabyte for a moment.
        self._checking = asyncio.Lock()

    def registration(self) -> ServicerRegistration:
        """This servicer with the generated function that adds it to a server."""
        return ServicerRegistration(control_service_pb2_grpc.add_ControlServiceServicer_to_server, self)

    async def SetModelStates(self, request: pb.SetModelStatesRequest, context: RpcContext) -> pb.SetModelStatesResponse:
        """Keep which models must get no requests."""
        state = RegistryState(frozenset(request.disabled_models), _seconds(request.as_of))
        await asyncio.to_thread(self._control.tell, state)
        return pb.SetModelStatesResponse()

    async def CheckTarget(self, request: pb.CheckTargetRequest, context: RpcContext) -> pb.CheckTargetResponse:
        """Check a target's file."""
        running = _config((await self._targets()).stable)
        async with self._checking:
            found = await asyncio.to_thread(check_target, request.file, request.text, running)
        return pb.CheckTargetResponse(problems=found.problems, notes=found.notes, versions=found.versions)

    async def SetTargets(self, request: pb.SetTargetsRequest, context: RpcContext) -> pb.SetTargetsResponse:
        """Keep what should run."""
        targets = Targets(
            base=request.base,
            stable=request.stable.text,
            candidate=request.candidate.text,
            percent=request.percent,
            tenants=tuple(request.tenants),
            as_of=_seconds(request.as_of),
            shadow_percent=request.shadow_percent,
        )
        await asyncio.to_thread(self._control.aim, targets)
        return pb.SetTargetsResponse()

    async def GetTargets(self, request: pb.GetTargetsRequest, context: RpcContext) -> pb.GetTargetsResponse:
        """Say what runs."""
        targets = await self._targets()
        reports = await self._board.read()
        progress = await asyncio.to_thread(self._control.progress)
        stable = _config(targets.stable).models
        prices = {version_of(model): model.cost for model in stable}
        # A candidate that cannot be read is among the starts, as failed.
        with contextlib.suppress(ConfigError):
            tried = _config(targets.candidate).models if targets.candidate else ()
            prices |= {version_of(model): model.cost for model in tried}
        return pb.GetTargetsResponse(
            base=targets.base,
            stable=pb.Target(text=targets.stable),
            versions=versions_of(stable),
            # What is said of no model is said of what is tried: the one that was tried before may be meant.
            running=[
                _running(one, reports, prices.get(one.version, Cost()))
                for one in progress.starts
                if one.model or progress.mark == targets.mark
            ],
            candidate=pb.Target(text=targets.candidate) if targets.candidate else None,
            in_place=progress.in_place and progress.mark == targets.mark,
        )

    async def _targets(self) -> Targets:
        targets = await asyncio.to_thread(self._control.targets)
        if targets is None:
            raise ModelUnavailable(retry_after_seconds=1.0)
        return targets


@functools.lru_cache(maxsize=4)
def _config(text: str) -> TargetConfig:
    return yaml_file.parse(text, TargetConfig, "target")


def _running(start: Start, reports: Sequence[Report], price: Cost) -> pb.RunningVersion:
    own = [one for one in reports if (one.model, one.version) == (start.model, start.version) and not one.draining]
    return pb.RunningVersion(
        model=start.model,
        version=start.version,
        failed=start.failed,
        message=start.message[-1000:],
        replicas=[one.replica for one in own],
        answered=sum(one.answered for one in own),
        broken=sum(one.broken for one in own),
        first_token_seconds=max((one.first_token_seconds for one in own), default=0.0),
        token_seconds=max((one.token_seconds for one in own), default=0.0),
        output_cost_per_million=price.output_per_million,
        input_cost_per_million=price.input_per_million,
        asleep=start.asleep and not own,
    )


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9

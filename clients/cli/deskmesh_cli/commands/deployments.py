"""`deskmesh deployments`: what the platform serves with, and how that changes under load."""

import asyncio
import difflib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import grpc
import grpc.aio
import typer
from google.protobuf.message import Message

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from deskmesh.models.v1 import deployment_pb2, deployment_service_pb2_grpc
from deskmesh.models.v1 import deployment_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_cli.operator import Operator, answered, inference, operating
from deskmesh_cli.records import data, table, when, word
from deskmesh_client import DeskmeshError

app = typer.Typer(help="What the platform serves with: roll out, watch, go back.", no_args_is_help=True)

SERVICE = "models"
PAGE_SIZE = 50
# A check asks vLLM itself, whose import takes a while.
DEPLOY_SECONDS = 115.0
WATCH_SECONDS = 1.0
# How long the service may be away before who waits for a deployment gives up.
AWAY_SECONDS = 60.0
UNDER_WAY = (
    deployment_pb2.DEPLOYMENT_STATE_STARTING,
    deployment_pb2.DEPLOYMENT_STATE_SHADOW,
    deployment_pb2.DEPLOYMENT_STATE_CANARY,
)

Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until it is promoted or taken back; 1 when it was taken back.")]


@app.command("list")
@acting
def list_deployments(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the newest deployments and which of them serves."""
    _ask(person, _newest, _show_list, as_json=as_json)


@app.command("history")
@acting
def history(person: Person = OWNER, as_json: Json = False) -> None:
    """Show who deployed what and why, what it was measured by, and how it ended."""

    def show(answer: Any) -> None:
        for one in answer.deployments:
            _show_whole(one)

    _ask(person, _newest, show, as_json=as_json)


@app.command("deploy")
@acting
def deploy(
    file: Annotated[Path, typer.Argument(help="A target's file; docs/models.md describes it.")],
    reason: Reason = "",
    step: Annotated[list[int] | None, typer.Option(help="A share to go through, in percent; repeat.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="An organization to begin with; repeat.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    wait: Wait = False,
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Check a file and roll it out beside what serves: measured, then for a growing share of the conversations."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file} cannot be read.", str(error)) from None
    request = pb.DeployRequest(
        request_id=uuid.uuid4().hex,
        file=str(file),
        text=text,
        reason=reason,
        steps=step or (),
        tenants=tenant or (),
        check_only=check,
    )

    async def call(operator: Operator) -> Message:
        return await answered(_stub(operator).Deploy(request, metadata=operator.headers, timeout=DEPLOY_SECONDS))

    def show(answer: Any) -> None:
        for note in answer.notes:
            out.print(note)
        out.print(f"{answer.deployment.id} has begun." if answer.deployment.id else "It can be deployed.")

    _ask(person, call, show, as_json=as_json, wait=wait and not check)


@app.command("rollback")
@acting
def rollback(reason: Reason = "", wait: Wait = False, person: Person = OWNER, as_json: Json = False) -> None:
    """Take back what is under way; without that, bring back what served before."""
    request = pb.RollBackRequest(request_id=uuid.uuid4().hex, reason=reason)

    async def call(operator: Operator) -> Message:
        return await answered(_stub(operator).RollBack(request, metadata=operator.headers, timeout=30))

    def show(answer: Any) -> None:
        out.print(f"{answer.deployment.id} is {_state(answer.deployment)}.")

    _ask(person, call, show, as_json=as_json, wait=wait)


@app.command("diff")
@acting
def diff(
    other: Annotated[str, typer.Argument(help="A file, or the identifier of a deployment.")],
    person: Person = OWNER,
) -> None:
    """Show how a file or an earlier deployment differs from what serves."""

    file = Path(other)
    text = file.read_text() if file.exists() else None

    async def work() -> int:
        async with operating(SERVICE, person) as operator:
            current = await _get(operator, "")
            new = text if text is not None else (await _get(operator, other)).text
        old = current.text.splitlines(keepends=True)
        name = f"{current.file} ({current.id})"
        sys.stdout.writelines(difflib.unified_diff(old, new.splitlines(keepends=True), name, other))
        return 0

    run(work, as_json=False)


@app.command("watch")
@acting
def watch(
    person: Person = OWNER,
) -> None:
    """Follow deployments, and the decisions on how many replicas each model has. Ends with Ctrl-C."""

    async def deployments() -> None:
        async with operating(SERVICE, person) as operator:
            told: dict[str, deployment_pb2.Deployment] = {}
            while True:
                # Of what was there before, the moves alone.
                began = bool(told)
                for one in reversed((await _newest(await operator.renewed())).deployments):
                    _show_news(one, told.get(one.id), judged=began)
                    told[one.id] = one
                await asyncio.sleep(WATCH_SECONDS)

    async def work() -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(deployments())
            group.create_task(_follow_scaling())
        return 0

    run(work, as_json=False)


async def _follow_scaling() -> None:
    async with inference() as channel:
        stub: Any = router_service_pb2_grpc.RouterServiceStub(channel)
        frames: AsyncIterator[Any] = stub.WatchScaling(router_service_pb2.WatchScalingRequest())
        try:
            async for frame in frames:
                one = frame.decision
                change = f"{one.from_replicas} → {one.to_replicas} replicas, {one.reason}"
                load = f"{one.running:.0f} running, {one.waiting:.0f} waiting, cache {one.kv_cache_usage:.0%}"
                out.print(f"{when(one.decided_at)}  {one.model}: {change}; {load}", markup=False)
        except grpc.aio.AioRpcError as error:
            out.print(f"Scaling can no longer be followed: {error.details()}")


def _ask(
    person: Person,
    call: Callable[[Operator], Awaitable[Message]],
    show: Callable[[Any], None],
    *,
    as_json: bool,
    wait: bool = False,
) -> None:
    async def work() -> int:
        async with operating(SERVICE, person) as operator:
            answer: Any = await call(operator)
            if not as_json:
                show(answer)
            last = await _until_it_ends(operator, answer.deployment, tell=not as_json) if wait else None
        if as_json:
            print_json(data(last if last is not None else answer))
        taken_back = deployment_pb2.DEPLOYMENT_STATE_ROLLED_BACK
        return 1 if last is not None and last.state == taken_back else 0

    run(work, as_json=as_json)


async def _until_it_ends(
    operator: Operator, begun: deployment_pb2.Deployment, *, tell: bool
) -> deployment_pb2.Deployment:
    told: deployment_pb2.Deployment | None = None
    seen = time.monotonic()
    while True:
        try:
            one = await _get(await operator.renewed(), begun.id)
        except DeskmeshError as error:
            # It goes on through a restart of the service, and so does who waits for it.
            if error.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - seen > AWAY_SECONDS:
                raise
            await asyncio.sleep(WATCH_SECONDS)
            continue
        seen = time.monotonic()
        if tell:
            _show_news(one, told, judged=True)
            told = one
        if one.state not in UNDER_WAY:
            return one
        await asyncio.sleep(WATCH_SECONDS)


async def _newest(operator: Operator) -> pb.ListDeploymentsResponse:
    request = pb.ListDeploymentsRequest(page_size=PAGE_SIZE)
    found: pb.ListDeploymentsResponse = await answered(
        _stub(operator).ListDeployments(request, metadata=operator.headers, timeout=30)
    )
    return found


async def _get(operator: Operator, deployment_id: str) -> deployment_pb2.Deployment:
    request = pb.GetDeploymentRequest(deployment_id=deployment_id)
    found: pb.GetDeploymentResponse = await answered(
        _stub(operator).GetDeployment(request, metadata=operator.headers, timeout=30)
    )
    return found.deployment


def _stub(operator: Operator) -> Any:
    return deployment_service_pb2_grpc.DeploymentServiceStub(operator.channel)


def _state(one: deployment_pb2.Deployment) -> str:
    return word(deployment_pb2.DeploymentState.Name(one.state), "DEPLOYMENT_STATE_").replace("_", " ")


def _show_list(answer: Any) -> None:
    rows = (
        (
            one.id,
            f"{_state(one)} {one.percent} %" if one.percent else _state(one),
            "serves" if one.current else "",
            one.file,
            when(one.updated_at),
            one.actor,
            one.failure or one.reason,
        )
        for one in answer.deployments
    )
    table(("deployment", "state", "", "file", "since", "who", "why"), rows, empty="Nothing has been deployed yet.")


def _show_move(one: deployment_pb2.Deployment) -> None:
    share = f", {one.percent} % of the conversations" if one.percent else ""
    why = f": {one.failure}" if one.failure else ""
    out.print(f"{when(one.updated_at)}  {one.id} {_state(one)}{share}{why}", markup=False)


def _show_news(one: deployment_pb2.Deployment, told: deployment_pb2.Deployment | None, *, judged: bool) -> None:
    """A move, and what was `judged` since it was last told of."""
    if told is None or (told.state, told.percent) != (one.state, one.percent):
        _show_move(one)
    known = {gate.name: gate.explanation for gate in told.gates} if told is not None else {}
    if judged:
        _show_gates([gate for gate in one.gates if known.get(gate.name) != gate.explanation])


def _show_gates(gates: Iterable[deployment_pb2.Gate]) -> None:
    for gate in gates:
        verdict = "waits " if gate.undecided else "passed" if gate.passed else "FAILED"
        out.print(f"    {verdict}  {gate.name}: {gate.explanation}", markup=False)


def _show_whole(one: deployment_pb2.Deployment) -> None:
    _show_move(one)
    out.print(f"    {one.file}, by {one.actor}" + (f": {one.reason}" if one.reason else ""), markup=False)
    for note in one.notes:
        out.print(f"    {note}", markup=False)
    _show_gates(one.gates)

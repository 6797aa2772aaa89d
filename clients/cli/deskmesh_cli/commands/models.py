"""`deskmesh models`: the registry of models, for operators."""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.message import Message

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from deskmesh.models.v1 import model_pb2, model_service_pb2_grpc
from deskmesh.models.v1 import model_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_cli.operator import answered, inference, operating
from deskmesh_cli.records import data, table, when, word
from deskmesh_client.errors import DeskmeshError

app = typer.Typer(help="The models there are and which of them get requests.", no_args_is_help=True)

PAGE_SIZE = 200
SERVICE = "models"

_Call = Callable[[Any, tuple[tuple[str, str], ...]], Awaitable[Message]]

Name = Annotated[str, typer.Argument(help="The model.")]
Environment = Annotated[str, typer.Option("--env", help="Its environment; this stack's own if empty.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Etag = Annotated[str, typer.Option(help="Change it only if it is still as `list --json` showed it.")]


@app.command("list")
@acting
def list_models(
    environment: Annotated[str, typer.Option("--env", help="Only those of this environment.")] = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Show the registry; when it does not answer, what the routers go by meanwhile."""

    async def work() -> int:
        try:
            async with operating(SERVICE, person) as operator:
                stub = model_service_pb2_grpc.ModelServiceStub(operator.channel)
                found: list[model_pb2.Model] = []
                token = ""
                while True:
                    request = pb.ListModelsRequest(environment=environment, page_size=PAGE_SIZE, page_token=token)
                    page = await answered(stub.ListModels(request, metadata=operator.headers, timeout=30))
                    found += page.models
                    token = page.next_page_token
                    if not token:
                        break
        except DeskmeshError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            _show_last_known(await _last_known(), as_json=as_json)
        else:
            if as_json:
                print_json({"source": "registry", "models": [data(one) for one in found]})
            else:
                _show(found)
        return 0

    run(work, as_json=as_json)


@app.command("register")
@acting
def register(
    name: Name,
    endpoint: Annotated[str, typer.Option(help="Where it is reached: host:port, or an https address.")],
    environment: Environment = "",
    namespace: Annotated[str, typer.Option(help="Who keeps it.")] = "",
    meta: Annotated[list[str] | None, typer.Option(help="What else is to be known, as NAME=VALUE; repeat.")] = None,
    reason: Reason = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Make a model known. Those that this stack runs register themselves."""
    pairs = [one.partition("=") for one in meta or ()]
    if any(not separator for _, separator, _ in pairs):
        raise fail("What is this?", "Write --meta as NAME=VALUE.")
    request = pb.RegisterModelRequest(
        request_id=uuid.uuid4().hex,
        name=name,
        environment=environment,
        endpoint=endpoint,
        namespace=namespace,
        metadata={key: value for key, _, value in pairs},
        reason=reason,
    )
    _ask(person, lambda stub, headers: stub.RegisterModel(request, metadata=headers, timeout=30), as_json=as_json)


@app.command("enable")
@acting
def enable(
    name: Name,
    environment: Environment = "",
    reason: Reason = "",
    etag: Etag = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Let a model get requests again."""
    request = pb.EnableModelRequest(name=name, environment=environment, etag=etag, reason=reason)
    _ask(person, lambda stub, headers: stub.EnableModel(request, metadata=headers, timeout=30), as_json=as_json)


@app.command("disable")
@acting
def disable(
    name: Name,
    environment: Environment = "",
    reason: Reason = "",
    etag: Etag = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Take a model out of routing; what it is at work on is finished."""
    request = pb.DisableModelRequest(name=name, environment=environment, etag=etag, reason=reason)
    _ask(person, lambda stub, headers: stub.DisableModel(request, metadata=headers, timeout=30), as_json=as_json)


@app.command("promote")
@acting
def promote(
    name: Name,
    to: Annotated[str, typer.Option(help="The environment it goes to.")],
    environment: Environment = "",
    endpoint: Annotated[str, typer.Option(help="Where it is reached there; as here if empty.")] = "",
    reason: Reason = "",
    etag: Etag = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Take a model over into another environment."""
    request = pb.PromoteModelRequest(
        name=name, environment=environment, to_environment=to, endpoint=endpoint, etag=etag, reason=reason
    )
    _ask(person, lambda stub, headers: stub.PromoteModel(request, metadata=headers, timeout=30), as_json=as_json)


@app.command("history")
@acting
def history(
    name: Annotated[str, typer.Argument(help="Only of this model.")] = "",
    environment: Annotated[str, typer.Option("--env", help="Only in this environment.")] = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Show the last things done to models, newest first."""
    request = pb.ListModelEventsRequest(name=name, environment=environment, page_size=PAGE_SIZE)

    def show(answer: Any) -> None:
        rows = (
            (
                when(one.occurred_at),
                one.environment,
                one.model,
                word(model_pb2.ModelAction.Name(one.action), "MODEL_ACTION_"),
                one.actor,
                one.reason,
            )
            for one in answer.events
        )
        table(("when", "environment", "model", "what", "who", "why"), rows, empty="Nothing has been done yet.")

    _ask(
        person,
        lambda stub, headers: stub.ListModelEvents(request, metadata=headers, timeout=30),
        show,
        as_json=as_json,
    )


def _ask(person: Person, call: _Call, show: Callable[[Any], None] | None = None, *, as_json: bool) -> None:
    async def work() -> int:
        async with operating(SERVICE, person) as operator:
            stub = model_service_pb2_grpc.ModelServiceStub(operator.channel)
            answer: Any = await answered(call(stub, operator.headers))
        if as_json:
            print_json(data(answer))
        elif show:
            show(answer)
        else:
            _show([answer.model])
        return 0

    run(work, as_json=as_json)


async def _last_known() -> router_service_pb2.ListModelsResponse:
    async with inference() as channel:
        stub: Any = router_service_pb2_grpc.RouterServiceStub(channel)
        answer: router_service_pb2.ListModelsResponse = await answered(
            stub.ListModels(router_service_pb2.ListModelsRequest(), timeout=30)
        )
        return answer


def _show(found: Iterable[model_pb2.Model]) -> None:
    rows = (
        (
            one.environment,
            one.name,
            "enabled" if one.enabled else "disabled",
            word(model_pb2.ModelHealth.Name(one.health), "MODEL_HEALTH_").replace("unspecified", ""),
            when(one.health_checked_at),
            one.endpoint,
            one.namespace,
            " ".join(f"{key}={value}" for key, value in sorted(one.metadata.items())),
        )
        for one in found
    )
    columns = ("environment", "model", "", "health", "seen", "endpoint", "namespace", "metadata")
    table(columns, rows, empty="No models are registered.")


def _show_last_known(answer: router_service_pb2.ListModelsResponse, *, as_json: bool) -> None:
    if as_json:
        print_json({"source": "router", **data(answer)})
        return
    if answer.HasField("registry_as_of"):
        age = (datetime.now(UTC) - answer.registry_as_of.ToDatetime(UTC)).total_seconds()
        out.print(f"The registry does not answer. The routers go by what it said {age:.0f} s ago:")
    else:
        out.print("The registry does not answer and has never told the routers anything: every model is enabled.")
    rows = (
        (one.profile.name, "disabled" if one.disabled else "enabled", str(len(one.replicas))) for one in answer.models
    )
    table(("model", "", "replicas"), rows, empty="No models.")

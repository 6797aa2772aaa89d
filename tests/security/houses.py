"""Two organizations, each with people and data, on every service as it really runs; only the models are doubles."""

import asyncio
import importlib
import inspect
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from deskmesh.auth.v1 import auth_service_pb2, organization_service_pb2
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from deskmesh.auth.v1.organization_service_pb2_grpc import OrganizationServiceStub
from mesh.policy.table import Rule, load_table
from services.common.errors import RemoteError, from_rpc_error
from services.common.ids import new_id
from services.common.settings import ServiceSettings
from tests.integration.mesh.envoys import free_port
from tests.integration.orchestrator.doubles import Doubles
from tests.security.enforcers import METHODS, PLAN
from tests.security.requests import PASSWORD, Belongings
from tests.support.postgres import services_with_tables
from tests.support.server import Headers, RunningService, TestStack, acting

STAFF = ("agent", "supervisor", "admin", "customer")
# A stream says something at once, and a heartbeat soon; what says nothing more for a moment is left.
FIRST_SECONDS = 10.0
HEARTBEAT_SECONDS = 0.2
PAUSE_SECONDS = 0.05
# A turn under way renews its lease several times as often, so it shows in its row.
LEASE_SECONDS = 1.5
CALL_SECONDS = 20.0
# Who signed in longer ago does so anew: a night is longer than a token's life, and some calls want a recent proof.
SIGNED_IN_SECONDS = 300.0


# Why an RPC is not called at random. Every other one of a service that keeps tables is, also one that is new.
LEFT_OUT: Mapping[str, frozenset[str]] = {
    "proves a secret before there is an organization": frozenset({"ApiKeyService/ExchangeApiKey"}),
    "is about the caller's own account, changes how it signs in, and has no field for a name": frozenset(
        {
            "AccountService/ChangePassword",
            "AccountService/SendVerification",
            "AccountService/SignOutEverywhere",
            "MfaService/BeginTotp",
            "MfaService/ConfirmTotp",
            "MfaService/DisableTotp",
            "MfaService/ReplaceRecoveryCodes",
            "MfaService/StepUp",
            "PasskeyService/BeginPasskeyRegistration",
            "PasskeyService/FinishPasskeyRegistration",
        }
    ),
    "is the operator's, and about no organization": frozenset(
        {
            "DeploymentService/Deploy",
            "DeploymentService/GetDeployment",
            "DeploymentService/ListDeployments",
            "DeploymentService/RollBack",
            "ModelService/DisableModel",
            "ModelService/EnableModel",
            "ModelService/GetModel",
            "ModelService/ListModelEvents",
            "ModelService/ListModels",
            "ModelService/PromoteModel",
            "ModelService/RegisterModel",
            "SigningKeyService/ListSigningKeys",
            "SigningKeyService/RotateSigningKeys",
        }
    ),
    "is the models', which keep nothing of anybody": frozenset(
        {
            "ControlService/CheckTarget",
            "ControlService/GetTargets",
            "ControlService/SetModelStates",
            "ControlService/SetTargets",
            "EmbeddingService/Embed",
            "InferenceService/Chat",
            "InferenceService/CountTokens",
            "InferenceService/RenderPrompt",
            "InferenceService/Score",
            "RouterService/ListModels",
            "RouterService/Route",
            "RouterService/RouteQueued",
            "RouterService/RouteShadow",
            "RouterService/WatchScaling",
        }
    ),
}


def short(method: str) -> str:
    """An RPC without its package: "AuthService/SignIn"."""
    return method.rpartition(".")[2]


def called_at_random() -> tuple[Rule, ...]:
    """Every RPC by which a person could reach a record; who calls without signing in is of no organization."""
    left_out = frozenset[str]().union(*LEFT_OUT.values())
    return tuple(
        rule for method, rule in sorted(load_table().items()) if not rule.anonymous and short(method) not in left_out
    )


@dataclass
class Person:
    """Somebody who is signed in."""

    organization_id: str
    slug: str
    user_id: str
    email: str
    roles: tuple[str, ...]
    token: str
    signed_in_at: float = field(default_factory=time.monotonic)

    @property
    def headers(self) -> Headers:
        return (("authorization", f"Bearer {self.token}"),)


@dataclass
class House:
    """An organization: what is its own, and who acts for it."""

    belongings: Belongings
    people: list[Person] = field(default_factory=list)
    # Names of another organization that it wrote into records of its own, or is just writing, by service.
    written: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


@dataclass(frozen=True)
class Answer:
    """What came back: messages, or the error."""

    messages: tuple[Message, ...] = ()
    error: RemoteError | None = None

    @property
    def refusal(self) -> tuple[str, str]:
        """Code and reason, both empty for success."""
        return (self.error.code.name, self.error.reason) if self.error else ("", "")


class Street:
    """The running services, and calls to any RPC of theirs as anybody."""

    def __init__(self, services: Mapping[str, RunningService]) -> None:
        self.services = services
        self.rules = called_at_random()

    async def call(self, rule: Rule, request: Message, person: Person, workload: str = "edge") -> Answer:
        """Call as a person at the door, or as a workload that acts for the person."""
        method = METHODS[rule.method]
        if time.monotonic() - person.signed_in_at > SIGNED_IN_SECONDS:
            await self._renew(person)
        headers = person.headers if workload == "edge" else acting(person.organization_id, person.user_id, person.roles)
        rpc = _rpc(self.services[rule.callee].channel(workload), method, rule)
        sent: Any = iter([request]) if rule.client_streaming else request
        try:
            if not rule.server_streaming:
                return Answer((await rpc(sent, metadata=headers, timeout=CALL_SECONDS),))
            return Answer(tuple(await _beginning(rpc(sent, metadata=headers))))
        except grpc.aio.AioRpcError as error:
            return Answer(error=from_rpc_error(error))

    async def _renew(self, person: Person) -> None:
        person.signed_in_at = time.monotonic()
        person.token = (await self._sign_in(person.email, person.slug)).tokens.access_token

    async def _sign_in(self, email: str, slug: str) -> Any:
        request = auth_service_pb2.SignInRequest(email=email, password=PASSWORD, organization_slug=slug)
        return await AuthServiceStub(self.services["auth"].channel("edge")).SignIn(request, timeout=CALL_SECONDS)

    async def found(self, mark: str) -> House:
        """A new organization with an owner and one person of each other kind."""
        channel = self.services["auth"].channel("edge")
        auth, organizations = AuthServiceStub(channel), OrganizationServiceStub(channel)
        slug = f"{mark}-{new_id('o').replace('_', '-')}"
        founds = auth_service_pb2.NewOrganization(slug=slug, name=f"{mark} house")
        email = f"{new_id('p')}@{mark}.example"
        signed_up = await auth.SignUp(
            auth_service_pb2.SignUpRequest(
                email=email, password=PASSWORD, display_name=f"{mark} owner", new_organization=founds
            ),
            timeout=CALL_SECONDS,
        )
        house = House(Belongings(mark))
        house.belongings.learn(signed_up.principal)
        owner = _person(signed_up, ("owner",))
        house.people.append(owner)
        for role in STAFF:
            email = f"{new_id('p')}@{mark}.example"
            await organizations.AddMember(
                organization_service_pb2.AddMemberRequest(
                    request_id=new_id("req"),
                    email=email,
                    display_name=f"{mark} {role}",
                    password=PASSWORD,
                    roles=[f"ROLE_{role.upper()}"],
                ),
                metadata=owner.headers,
                timeout=CALL_SECONDS,
            )
            house.people.append(_person(await self._sign_in(email, slug), (role,)))
        return house


def _person(signed: Any, roles: tuple[str, ...]) -> Person:
    principal = signed.principal
    organization, user = principal.organization, principal.user
    return Person(organization.id, organization.slug, user.id, user.email, roles, signed.tokens.access_token)


def _rpc(channel: grpc.aio.Channel, method: MethodDescriptor, rule: Rule) -> Any:
    kind = f"{'stream' if rule.client_streaming else 'unary'}_{'stream' if rule.server_streaming else 'unary'}"
    response = message_factory.GetMessageClass(method.output_type)
    return getattr(channel, kind)(
        rule.method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )


async def _beginning(call: Any) -> list[Message]:
    """What a stream says until it pauses or ends. Raises its error."""
    said: list[Message] = []
    while True:
        reading = asyncio.ensure_future(call.read())
        done, _ = await asyncio.wait({reading}, timeout=PAUSE_SECONDS if said else FIRST_SECONDS)
        if not done:
            call.cancel()
            reading.cancel()
            return said
        message = await reading
        if message is grpc.aio.EOF:
            # Its end may be an error.
            if await call.code() is not grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    await call.code(),
                    await call.initial_metadata(),
                    await call.trailing_metadata(),
                    await call.details(),
                )
            return said
        said.append(message)


def _settings_of(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    own = [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, ServiceSettings) and one.__module__ == module.__name__
    ]
    assert len(own) == 1, f"services.{service}.settings has one class of settings"
    return own[0]


@asynccontextmanager
async def street(stack: TestStack) -> AsyncIterator[Street]:
    """Every service that keeps tables, each on real stores and calling the others by mutual TLS."""
    names = [name for name in services_with_tables() if name in PLAN.callees]
    ports = {name: free_port() for name in names}
    keys = stack.folder / "street-auth.sock"
    async with AsyncExitStack() as running:
        models = await running.enter_async_context(
            stack.service("inference", ServiceSettings, Doubles().wire_inference, drain_seconds=0.2)
        )
        shared: dict[str, Any] = {
            **{f"{name}_address": f"127.0.0.1:{port}" for name, port in ports.items()},
            "inference_address": models.address,
            "jwks_socket": keys,
            "secrets_folder": stack.folder / "street-secrets",
            "mail_folder": stack.folder / "street-mail",
            "password_memory_kib": 64,
            "password_passes": 1,
            "sign_ups_per_hour": 100_000,
            "access_token_seconds": 3600,
            "drain_seconds": 0.5,
            "watch_heartbeat_seconds": HEARTBEAT_SECONDS,
            "lease_seconds": LEASE_SECONDS,
        }
        served = {}
        # The others ask auth for its keys at their first call.
        for name in sorted(names, key=lambda one: one != "auth"):
            stack.pki.issue(name)
            wire = importlib.import_module(f"services.{name}.app").wire
            changes = {**shared, "listen_address": f"127.0.0.1:{ports[name]}"}
            if name == "auth":
                changes["ops_socket"] = keys
            served[name] = await running.enter_async_context(stack.service(name, _settings_of(name), wire, **changes))
        yield Street(served)


def workload_for(rule: Rule, dice: random.Random) -> str:
    """By which workload the person's call comes: mostly the door, where it is open to the RPC."""
    inside = sorted(rule.callers - {"edge", "laptop"})
    if "edge" in rule.callers and (not inside or dice.random() < 0.8):
        return "edge"
    return dice.choice(inside or ["laptop"])

"""Protos ↔ domain."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.models.v1 import deployment_pb2, model_pb2
from deskmesh.models.v1 import deployment_service_pb2 as deployments_pb
from deskmesh.models.v1 import model_service_pb2 as pb
from services.common.context import Caller, IdempotencyKey
from services.models.domain import Action, Event, Health, Model
from services.models.rollouts import Rollout, State
from services.models.usecases.deployments import Deploy, DeploymentPage, GoBack
from services.models.usecases.registry import (
    EventPage,
    ListEvents,
    ListModels,
    ModelPage,
    Promote,
    Register,
    Switch,
)

_HEALTHS = {
    Health.UNKNOWN: model_pb2.MODEL_HEALTH_UNSPECIFIED,
    Health.SERVING: model_pb2.MODEL_HEALTH_SERVING,
    Health.DEGRADED: model_pb2.MODEL_HEALTH_DEGRADED,
    Health.DOWN: model_pb2.MODEL_HEALTH_DOWN,
}
_ACTIONS = {
    Action.REGISTERED: model_pb2.MODEL_ACTION_REGISTERED,
    Action.ENABLED: model_pb2.MODEL_ACTION_ENABLED,
    Action.DISABLED: model_pb2.MODEL_ACTION_DISABLED,
    Action.PROMOTED: model_pb2.MODEL_ACTION_PROMOTED,
}

_STATES = {
    State.STARTING: deployment_pb2.DEPLOYMENT_STATE_STARTING,
    State.SHADOW: deployment_pb2.DEPLOYMENT_STATE_SHADOW,
    State.CANARY: deployment_pb2.DEPLOYMENT_STATE_CANARY,
    State.PROMOTED: deployment_pb2.DEPLOYMENT_STATE_PROMOTED,
    State.ROLLED_BACK: deployment_pb2.DEPLOYMENT_STATE_ROLLED_BACK,
}


def actor(caller: Caller) -> str:
    """Who is written into a history: the person, or the workload that calls for itself."""
    return caller.user_id or caller.workload


def to_list(request: pb.ListModelsRequest) -> ListModels:
    """The query of a list."""
    return ListModels(request.environment, request.page_size, request.page_token)


def to_register(request: pb.RegisterModelRequest, caller: Caller, key: IdempotencyKey) -> Register:
    """The command of a registration."""
    return Register(
        key=key,
        name=request.name,
        environment=request.environment,
        endpoint=request.endpoint,
        namespace=request.namespace,
        actor=actor(caller),
        reason=request.reason,
        metadata=dict(request.metadata),
    )


def to_switch(request: pb.EnableModelRequest | pb.DisableModelRequest, caller: Caller) -> Switch:
    """The command that enables or disables, by the request's kind."""
    enabled = isinstance(request, pb.EnableModelRequest)
    return Switch(request.name, request.environment, enabled, request.etag, actor(caller), request.reason)


def to_promote(request: pb.PromoteModelRequest, caller: Caller) -> Promote:
    """The command of a promotion."""
    return Promote(
        name=request.name,
        environment=request.environment,
        to_environment=request.to_environment,
        endpoint=request.endpoint,
        etag=request.etag,
        actor=actor(caller),
        reason=request.reason,
    )


def to_list_events(request: pb.ListModelEventsRequest) -> ListEvents:
    """The query of a list of events."""
    return ListEvents(request.name, request.environment, request.page_size, request.page_token)


def model(one: Model) -> model_pb2.Model:
    """A model as callers see it."""
    return model_pb2.Model(
        name=one.name,
        environment=one.environment,
        endpoint=one.endpoint,
        namespace=one.namespace,
        metadata=one.metadata,
        enabled=one.enabled,
        health=_HEALTHS[one.health],
        health_checked_at=timestamp(one.health_checked_at) if one.health_checked_at else None,
        created_at=timestamp(one.created_at),
        updated_at=timestamp(one.updated_at),
        etag=str(one.version),
    )


def event(one: Event) -> model_pb2.ModelEvent:
    """An event as callers see it."""
    return model_pb2.ModelEvent(
        id=one.id,
        model=one.model,
        environment=one.environment,
        action=_ACTIONS[one.action],
        actor=one.actor,
        reason=one.reason,
        occurred_at=timestamp(one.occurred_at),
    )


def model_page(page: ModelPage) -> pb.ListModelsResponse:
    """A page of models."""
    return pb.ListModelsResponse(models=[model(one) for one in page.models], next_page_token=page.next_page_token)


def event_page(page: EventPage) -> pb.ListModelEventsResponse:
    """A page of events."""
    return pb.ListModelEventsResponse(events=[event(one) for one in page.events], next_page_token=page.next_page_token)


def to_deploy(request: deployments_pb.DeployRequest, caller: Caller, key: IdempotencyKey) -> Deploy:
    """The command of a deployment."""
    return Deploy(
        key=key,
        file=request.file,
        text=request.text,
        actor=actor(caller),
        reason=request.reason,
        steps=tuple(request.steps),
        tenants=tuple(request.tenants),
        check_only=request.check_only,
    )


def to_go_back(request: deployments_pb.RollBackRequest, caller: Caller, key: IdempotencyKey) -> GoBack:
    """The command that goes back."""
    return GoBack(key, actor(caller), request.reason)


def deployment(one: Rollout, *, current: bool, whole: bool) -> deployment_pb2.Deployment:
    """A deployment as callers see it; `whole` with its file."""
    return deployment_pb2.Deployment(
        id=one.id,
        state=_STATES[one.state],
        file=one.file,
        actor=one.actor,
        reason=one.reason,
        percent=one.percent,
        tenants=one.tenants,
        steps=one.steps,
        current=current,
        versions=one.versions,
        notes=one.notes,
        gates=[
            deployment_pb2.Gate(
                name=gate.name,
                passed=gate.passed,
                value=gate.value,
                limit=gate.limit,
                explanation=gate.explanation,
                undecided=gate.undecided,
            )
            for gate in one.gates
        ],
        failure=one.failure,
        created_at=timestamp(one.created_at),
        updated_at=timestamp(one.updated_at),
        text=one.text if whole else "",
    )


def deployment_page(page: DeploymentPage) -> deployments_pb.ListDeploymentsResponse:
    """A page of deployments."""
    return deployments_pb.ListDeploymentsResponse(
        deployments=[deployment(one, current=one.id == page.current, whole=False) for one in page.rollouts],
        next_page_token=page.next_page_token,
    )


def timestamp(moment: datetime) -> Timestamp:
    """A moment on the wire."""
    value = Timestamp()
    value.FromDatetime(moment)
    return value

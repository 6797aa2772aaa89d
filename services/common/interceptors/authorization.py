"""Whether the caller may call this RPC, by its policy alone. Whose record it is, is the use case's question."""

import time
from collections.abc import Callable

from mesh.policy.table import Idempotency, Rule
from services.common.context import Caller
from services.common.errors import PermissionDenied
from services.common.permissions import OWN

Authorize = Callable[[Caller], None]

# How long ago a person may have proved who they are for a dangerous call.
STEP_UP_SECONDS = 600.0


class WorkloadNotAllowed(PermissionDenied):
    """The workload is not among the callers that the policy names."""

    reason = "WORKLOAD_NOT_ALLOWED"
    message = "The calling workload may not call this method."


class PermissionMissing(PermissionDenied):
    """None of the person's roles holds the permission."""

    reason = "PERMISSION_MISSING"
    message = "Your role does not allow this."


class StepUpRequired(PermissionDenied):
    """The person proved who they are too long ago for this call, or a program calls with no such proof at all."""

    reason = "STEP_UP_REQUIRED"
    message = "Confirm that it is you, then try again."


def authorization(rule: Rule, *, now: Callable[[], float] = time.time) -> Authorize:
    """The check of one RPC. It raises WorkloadNotAllowed, PermissionMissing or StepUpRequired."""
    callers, permission, own = rule.callers, rule.permission, rule.permission + OWN
    step_up = rule.step_up
    # What asks for no permission is a person's own business.
    personal = not permission and not rule.anonymous and rule.idempotency is not Idempotency.READ

    def authorize(caller: Caller) -> None:
        if caller.workload not in callers:
            raise WorkloadNotAllowed
        if permission and permission not in caller.permissions and own not in caller.permissions:
            raise PermissionMissing(metadata={"permission": permission})
        if personal and caller.by_key:
            raise PermissionMissing(message="An API key cannot do this; sign in as a person.")
        if step_up and caller.user_id and now() - caller.authenticated_at > STEP_UP_SECONDS:
            raise StepUpRequired(metadata={"max_age_seconds": f"{STEP_UP_SECONDS:.0f}"})

    return authorize

"""Whether the caller may call this RPC, by its policy alone. Whose record it is, is the use case's question."""

from collections.abc import Callable

from mesh.policy.table import Rule
from services.common.context import Caller
from services.common.errors import PermissionDenied
from services.common.permissions import OWN

Authorize = Callable[[Caller], None]


class WorkloadNotAllowed(PermissionDenied):
    """The workload is not among the callers that the policy names."""

    reason = "WORKLOAD_NOT_ALLOWED"
    message = "The calling workload may not call this method."


class PermissionMissing(PermissionDenied):
    """None of the person's roles holds the permission."""

    reason = "PERMISSION_MISSING"
    message = "Your role does not allow this."


def authorization(rule: Rule) -> Authorize:
    """The check of one RPC. It raises WorkloadNotAllowed or PermissionMissing."""
    callers, permission, own = rule.callers, rule.permission, rule.permission + OWN

    def authorize(caller: Caller) -> None:
        if caller.workload not in callers:
            raise WorkloadNotAllowed
        if permission and permission not in caller.permissions and own not in caller.permissions:
            raise PermissionMissing(metadata={"permission": permission})

    return authorize

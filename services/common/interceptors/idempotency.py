"""What makes a repeated call recognizable: its request_id, and a fingerprint of what was asked and by whom."""

import hashlib

from google.protobuf.message import Message

from mesh.policy.table import Rule
from services.common.context import Caller, IdempotencyKey
from services.common.errors import InvalidInput


def idempotency_key(rule: Rule, request: Message, caller: Caller) -> IdempotencyKey:
    """The key of a call whose policy says REQUEST_ID. Raises InvalidInput without a request_id."""
    request_id: str = getattr(request, "request_id", "")
    if not request_id:
        raise InvalidInput(violations=[("request_id", "is required")])
    fingerprint = hashlib.sha256(caller.user_id.encode())
    fingerprint.update(b"\0")
    fingerprint.update(request.SerializeToString(deterministic=True))
    return IdempotencyKey(request_id, rule.method, fingerprint.digest())

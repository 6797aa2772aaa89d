"""Who calls a replica: Envoy has checked the certificate and passes its name on."""

import re

from services.common.context import Caller
from services.common.interceptors.call import Call
from services.common.interceptors.identity import Identity

FORWARDED = "x-forwarded-client-cert"
# A person at this machine's terminal, who reached the loopback port without Envoy.
OPERATOR = "laptop"


class SidecarIdentity(Identity):
    """Takes the workload from Envoy's `x-forwarded-client-cert`, which Envoy replaces on every request.

    The port listens on loopback, or behind the sidecar of its own pod, so nobody else can write the header.
    """

    def __init__(self, environment: str) -> None:
        self._uri = re.compile(rf"URI=spiffe://[^/;,]+/ns/{re.escape(environment)}/sa/([a-z0-9-]+)")
        self._callers: dict[str, Caller] = {}

    def known(self, call: Call) -> Caller:
        """The caller; never a person, as tokens end before the models."""
        header = call.header(FORWARDED)
        caller = self._callers.get(header)
        if caller is None:
            caller = self._callers[header] = Caller(self._named(header))
        return caller

    def _named(self, header: str) -> str:
        if not header:
            return OPERATOR
        match = self._uri.search(header)
        return match[1] if match else ""

"""Who calls a replica: Envoy has checked the certificate and passes its name on."""

import re

from services.common.context import Caller
from services.common.interceptors.call import Call
from services.common.interceptors.identity import FORWARDED, Identity

# A person at this machine's terminal, who reached the loopback port without Envoy.
OPERATOR = "laptop"


class SidecarIdentity(Identity):
    """Takes the workload from Envoy's `x-forwarded-client-cert`.

    The port listens on loopback, or by mutual TLS with other pods of Ray, so nobody else can write the header. An Envoy
    replaces it, or adds its own word behind what came: the last one counts. `unnamed` is who calls without the header.
    """

    def __init__(self, environment: str, *, unnamed: str = OPERATOR) -> None:
        self._unnamed = unnamed
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
            return self._unnamed
        match = self._uri.search(header.rpartition(",")[2])
        return match[1] if match else ""

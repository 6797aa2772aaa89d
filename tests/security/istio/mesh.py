"""The answers of proxies, by all the resources together."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.security.istio.gateway import leads, rpc_of, transcoded_by
from tests.security.istio.request import (
    ALLOWED,
    AUTHORIZATION,
    REMOVE,
    Answer,
    Check,
    Request,
    Workload,
    bearer_in,
)
from tests.security.istio.rules import Facts, Resource, Unknown, action_of, any_matches, namespace_of, only, selector_of

# Istio's proxies accept a token this long after it expired, and before it begins.
CLOCK_SKEW_SECONDS = 60.0
ROOT_NAMESPACE = "istio-system"
BEARER = {"name": AUTHORIZATION, "prefix": "Bearer "}
# What a provider of external authorization may be told.
PROVIDER = (
    "service",
    "port",
    "pathPrefix",
    "timeout",
    "failOpen",
    "statusOnError",
    "includeRequestHeadersInCheck",
    "headersToUpstreamOnAllow",
    "headersToDownstreamOnAllow",
    "headersToDownstreamOnDeny",
)


class Mesh:
    """The resources of a cluster, the public keys at each `jwksUri` by key ID, and the mesh's own settings."""

    def __init__(
        self,
        resources: Iterable[Resource],
        keys: Mapping[str, Mapping[str, Ed25519PublicKey]] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        check: Check = lambda _service, _port, _request: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._resources = list(resources)
        self._keys = keys or {}
        self._settings = settings or {}
        self._check = check
        self._now = now

    def answer(self, workload: Workload, request: Request) -> Answer:
        """The answer of the workload's proxy, before the workload itself is asked."""
        if not request.principal and self.mode(workload, request.port) == "STRICT":
            return Answer(0, "the connection has no mutual TLS")
        return self.answer_at_gateway(workload, request)

    def answer_at_gateway(self, workload: Workload, request: Request) -> Answer:
        """The same of a gateway, whose listeners follow its Gateway resource and no PeerAuthentication."""
        return self.passed(workload, request)[0]

    def passed(self, workload: Workload, request: Request) -> tuple[Answer, Request]:
        """The same with the request as it goes on."""
        answer, request = self._asked(workload, request)
        if not answer.allowed:
            return answer, request
        claims: Mapping[str, Any] | None = None
        if rules := self._token_rules(workload):
            try:
                claims = self._claims(rules, request)
            except jwt.PyJWTError as error:
                return Answer(401, str(error)), request
        return self._authorize(workload, request, claims), request

    def _asked(self, workload: Workload, request: Request) -> tuple[Answer, Request]:
        """What external authorization makes of a request, which nobody has identified yet."""
        policies = [one for one in self._applying("AuthorizationPolicy", workload) if action_of(one) == "CUSTOM"]
        names = {one["spec"]["provider"]["name"] for one in policies}
        if len(names) > 1:
            raise Unknown("several providers for one workload")
        facts = Facts(request, None, identified=False)
        matches = [facts.match(policy) for policy in policies]
        if not any(matches):
            return ALLOWED, request
        [name] = names
        only(self._settings, "trustDomain", "pathNormalization", "extensionProviders")
        found = [one for one in self._settings.get("extensionProviders", []) if one["name"] == name]
        if not found:
            return Answer(403, f"there is no provider {name}"), request
        only(found[0], "name", "envoyExtAuthzHttp")
        return self._ask(workload, request, found[0]["envoyExtAuthzHttp"])

    def _ask(self, workload: Workload, request: Request, provider: Mapping[str, Any]) -> tuple[Answer, Request]:
        only(provider, *PROVIDER)
        if provider["failOpen"]:
            raise Unknown("a provider without which requests go on")
        away = Answer(int(provider["statusOnError"]), "the provider does not answer")
        told = {
            name: value
            for name, value in request.sent.items()
            if any_matches(provider["includeRequestHeadersInCheck"], name)
        }
        host, port = str(provider["service"]), int(provider["port"])
        name, namespace = host.split(".")[:2]
        check = Request(
            provider["pathPrefix"] + request.path,
            f"{self._settings['trustDomain']}/ns/{workload.namespace}/sa/{workload.labels['app']}",
            request.method,
            port,
            host,
            bearer_in(request.sent.get(AUTHORIZATION, "")),
            told,
        )
        answer = self.answer(Workload(namespace, {"app": name}), check)
        if not answer.allowed:
            return (away if answer.status == 0 else answer), request
        checked = self._check(name, port, check)
        if checked is None:
            return away, request
        if checked.status != 200:
            return Answer(checked.status, "the provider says no"), request
        removed = [name.strip() for name in checked.headers.get(REMOVE, "").split(",")]
        headers = {name: value for name, value in request.headers.items() if name not in removed}
        allowed = provider["headersToUpstreamOnAllow"]
        changed = {name: value for name, value in checked.headers.items() if any_matches(allowed, name)}
        if set(changed) - {AUTHORIZATION}:
            raise Unknown("a provider that changes other headers")
        token = bearer_in(changed[AUTHORIZATION]) if changed else request.token
        return ALLOWED, replace(request, headers=headers, token=token)

    def transcoded(self, workload: Workload, verb: str, path: str) -> str:
        """The path that the filters behind a gateway's listener see: that of the RPC, for a REST request of one."""
        for one in (one for one in self._resources if one["kind"] == "EnvoyFilter"):
            spec = one["spec"]
            only(spec, "workloadSelector", "configPatches")
            if any(workload.labels.get(name) != value for name, value in spec["workloadSelector"]["labels"].items()):
                continue
            for patch in spec["configPatches"]:
                path = rpc_of(transcoded_by(patch), verb, path)
        return path

    def route(self, gateway: str, path: str) -> str:
        """The host to which a gateway's routes send a path; "" where the gateway answers itself or not at all."""
        return self.destination(gateway, path)[0]

    def destination(self, gateway: str, path: str) -> tuple[str, int]:
        """The same with the port, 0 where the gateway answers itself."""
        for service in (one for one in self._resources if one["kind"] == "VirtualService"):
            if gateway not in service["spec"]["gateways"]:
                continue
            for route in service["spec"]["http"]:
                if any(leads(match, path) for match in route["match"]):
                    if "route" not in route:
                        return "", 0
                    there = route["route"][0]["destination"]
                    return str(there["host"]), int(there["port"]["number"])
        return "", 0

    def mode(self, workload: Workload, port: int) -> str:
        """The mode of mutual TLS: of the workload's port, else of the workload, the namespace, the mesh."""
        found = self._applying("PeerAuthentication", workload)
        chosen = [one for one in found if selector_of(one)]
        for one in chosen:
            by_port: Mapping[Any, Any] = one["spec"].get("portLevelMtls", {})
            for number, setting in by_port.items():
                if int(number) == port and setting["mode"] != "UNSET":
                    return str(setting["mode"])
        of_namespace = [one for one in found if not selector_of(one) and namespace_of(one) == workload.namespace]
        of_mesh = [one for one in found if not selector_of(one) and namespace_of(one) == ROOT_NAMESPACE]
        for one in (*chosen, *of_namespace, *of_mesh):
            mode = one["spec"].get("mtls", {}).get("mode", "UNSET")
            if mode != "UNSET":
                return str(mode)
        return "PERMISSIVE"

    def _applying(self, kind: str, workload: Workload) -> list[Resource]:
        """The resources of a kind that apply to a workload."""
        return [
            one
            for one in self._resources
            if one["kind"] == kind
            and namespace_of(one) in (workload.namespace, ROOT_NAMESPACE)
            and all(workload.labels.get(name) == value for name, value in selector_of(one).items())
        ]

    def _token_rules(self, workload: Workload) -> list[Mapping[str, Any]]:
        found = self._applying("RequestAuthentication", workload)
        return [rule for one in found for rule in one.get("spec", {}).get("jwtRules", [])]

    def _claims(self, rules: Sequence[Mapping[str, Any]], request: Request) -> Mapping[str, Any] | None:
        """The claims of the token; None without one. Raises PyJWTError for a token that no rule accepts."""
        if request.token is None:
            return None
        issuer = jwt.decode(request.token, options={"verify_signature": False}).get("iss")
        for rule in rules:
            if unknown := rule.keys() - {"issuer", "audiences", "jwksUri", "fromHeaders", "forwardOriginalToken"}:
                raise Unknown(f"token rule with {sorted(unknown)}")
            if rule.get("fromHeaders", [BEARER]) != [BEARER]:
                raise Unknown("tokens in other headers")
            if rule["issuer"] == issuer:
                return self._verified(rule, request.token)
        raise jwt.InvalidIssuerError("no rule knows the issuer")

    def _verified(self, rule: Mapping[str, Any], token: str) -> Mapping[str, Any]:
        key = self._keys.get(rule["jwksUri"], {}).get(jwt.get_unverified_header(token).get("kid", ""))
        if key is None:
            raise jwt.InvalidKeyError("no such key")
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=rule.get("audiences"),
            options={
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": "audiences" in rule,
            },
        )
        if claims.get("exp", float("inf")) + CLOCK_SKEW_SECONDS < self._now():
            raise jwt.ExpiredSignatureError("expired")
        if claims.get("nbf", 0) - CLOCK_SKEW_SECONDS > self._now():
            raise jwt.ImmatureSignatureError("not yet")
        return claims

    def _authorize(self, workload: Workload, request: Request, claims: Mapping[str, Any] | None) -> Answer:
        policies = self._applying("AuthorizationPolicy", workload)
        by_action: dict[str, list[Resource]] = {"DENY": [], "ALLOW": []}
        for policy in policies:
            action = action_of(policy)
            # The first was asked before there was an identity.
            if action in ("CUSTOM", "AUDIT"):
                continue
            if action not in by_action:
                raise Unknown(f"action {action}")
            by_action[action].append(policy)
        facts = Facts(request, claims)
        for policy in by_action["DENY"]:
            if facts.match(policy):
                return Answer(403, f"denied by {policy['metadata']['name']}")
        if not by_action["ALLOW"]:
            return ALLOWED
        # Every policy is looked at, so that none can hide something unknown behind one that allows.
        matches = [facts.match(policy) for policy in by_action["ALLOW"]]
        return ALLOWED if any(matches) else Answer(403, "no policy allows it")

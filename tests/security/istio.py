"""What Istio would answer: its documented semantics, over manifests, for the parts of them that Deskmesh uses.

External authorization (`CUSTOM`) comes first, as Istio's filters stand, and is asked of a provider in the mesh's own
settings, through the proxy of the workload that answers. PeerAuthentication decides whether a connection without mutual
TLS is taken, RequestAuthentication whether a token holds, AuthorizationPolicy whether the request is allowed. Whatever
the evaluator does not know raises Unknown, so that no policy can say something that is quietly left out.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.policy.table import services
from mesh.rest.paths import VARIABLE, bindings
from mesh.rest.transcoder import NAME

Resource = Mapping[str, Any]
# Istio's proxies accept a token this long after it expired, and before it begins.
CLOCK_SKEW_SECONDS = 60.0
ROOT_NAMESPACE = "istio-system"


class Unknown(Exception):
    """The manifests use something that is not evaluated here."""


@dataclass(frozen=True)
class Workload:
    """The pods at the receiving end."""

    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """A request as the callee's proxy sees it; `principal` is the peer's SPIFFE ID without scheme, "" without mTLS."""

    path: str
    principal: str = ""
    method: str = "POST"
    port: int = 0
    host: str = ""
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> Mapping[str, str]:
        """The headers, the one with the token included."""
        return {**self.headers, **({_AUTHORIZATION: f"Bearer {self.token}"} if self.token is not None else {})}

    @property
    def namespace(self) -> str:
        """The peer's namespace, "" without mTLS."""
        return self.principal.split("/")[2] if self.principal else ""


@dataclass(frozen=True)
class Answer:
    """What the proxy does; `status` is 200, 401 or 403, or 0 for a connection that is closed."""

    status: int
    why: str = ""

    @property
    def allowed(self) -> bool:
        return self.status == 200


ALLOWED = Answer(200)


class Checked(NamedTuple):
    """What a provider of external authorization answers."""

    status: int
    headers: Mapping[str, str]


# Answers a check that has come through the proxy of the service and port; None when nobody answers.
Check = Callable[[str, int, Request], Checked | None]
# In an answer, whatever the provider's settings say: request headers that must not go on.
REMOVE = "x-envoy-auth-headers-to-remove"


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
        policies = [one for one in self._applying("AuthorizationPolicy", workload) if _action(one) == "CUSTOM"]
        names = {one["spec"]["provider"]["name"] for one in policies}
        if len(names) > 1:
            raise Unknown("several providers for one workload")
        facts = _Facts(request, None, identified=False)
        matches = [facts.match(policy) for policy in policies]
        if not any(matches):
            return ALLOWED, request
        [name] = names
        _known(self._settings, "trustDomain", "pathNormalization", "extensionProviders")
        found = [one for one in self._settings.get("extensionProviders", []) if one["name"] == name]
        if not found:
            return Answer(403, f"there is no provider {name}"), request
        _known(found[0], "name", "envoyExtAuthzHttp")
        return self._ask(workload, request, found[0]["envoyExtAuthzHttp"])

    def _ask(self, workload: Workload, request: Request, provider: Mapping[str, Any]) -> tuple[Answer, Request]:
        _known(provider, *_PROVIDER)
        if provider["failOpen"]:
            raise Unknown("a provider without which requests go on")
        away = Answer(int(provider["statusOnError"]), "the provider does not answer")
        told = {
            name: value for name, value in request.sent.items() if _any(provider["includeRequestHeadersInCheck"], name)
        }
        host, port = str(provider["service"]), int(provider["port"])
        name, namespace = host.split(".")[:2]
        check = Request(
            provider["pathPrefix"] + request.path,
            f"{self._settings['trustDomain']}/ns/{workload.namespace}/sa/{workload.labels['app']}",
            request.method,
            port,
            host,
            _bearer(request.sent.get(_AUTHORIZATION, "")),
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
        changed = {name: value for name, value in checked.headers.items() if _any(allowed, name)}
        if set(changed) - {_AUTHORIZATION}:
            raise Unknown("a provider that changes other headers")
        token = _bearer(changed[_AUTHORIZATION]) if changed else request.token
        return ALLOWED, replace(request, headers=headers, token=token)

    def transcoded(self, workload: Workload, verb: str, path: str) -> str:
        """The path that the filters behind a gateway's listener see: that of the RPC, for a REST request of one."""
        for one in (one for one in self._resources if one["kind"] == "EnvoyFilter"):
            spec = one["spec"]
            _known(spec, "workloadSelector", "configPatches")
            if any(workload.labels.get(name) != value for name, value in spec["workloadSelector"]["labels"].items()):
                continue
            for patch in spec["configPatches"]:
                path = _rpc_of(_transcoder_in(patch), verb, path)
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
                if any(_leads(match, path) for match in route["match"]):
                    if "route" not in route:
                        return "", 0
                    there = route["route"][0]["destination"]
                    return str(there["host"]), int(there["port"]["number"])
        return "", 0

    def mode(self, workload: Workload, port: int) -> str:
        """The mode of mutual TLS: of the workload's port, else of the workload, the namespace, the mesh."""
        found = self._applying("PeerAuthentication", workload)
        chosen = [one for one in found if _selector(one)]
        for one in chosen:
            by_port: Mapping[Any, Any] = one["spec"].get("portLevelMtls", {})
            for number, setting in by_port.items():
                if int(number) == port and setting["mode"] != "UNSET":
                    return str(setting["mode"])
        of_namespace = [one for one in found if not _selector(one) and _namespace(one) == workload.namespace]
        of_mesh = [one for one in found if not _selector(one) and _namespace(one) == ROOT_NAMESPACE]
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
            and _namespace(one) in (workload.namespace, ROOT_NAMESPACE)
            and all(workload.labels.get(name) == value for name, value in _selector(one).items())
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
            if rule.get("fromHeaders", [_BEARER]) != [_BEARER]:
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
            action = _action(policy)
            # The first was asked before there was an identity.
            if action in ("CUSTOM", "AUDIT"):
                continue
            if action not in by_action:
                raise Unknown(f"action {action}")
            by_action[action].append(policy)
        facts = _Facts(request, claims)
        for policy in by_action["DENY"]:
            if facts.match(policy):
                return Answer(403, f"denied by {policy['metadata']['name']}")
        if not by_action["ALLOW"]:
            return ALLOWED
        # Every policy is looked at, so that none can hide something unknown behind one that allows.
        matches = [facts.match(policy) for policy in by_action["ALLOW"]]
        return ALLOWED if any(matches) else Answer(403, "no policy allows it")


def _transcoder_in(patch: Mapping[str, Any]) -> Sequence[str]:
    """The services that a patch has transcoded, before any other filter is asked."""
    _known(patch, "applyTo", "match", "patch")
    added = patch["patch"]
    if patch["applyTo"] != "HTTP_FILTER" or added["operation"] != "INSERT_FIRST" or added["value"]["name"] != NAME:
        raise Unknown("another patch than a transcoder before all filters")
    if patch["match"]["context"] != "GATEWAY":
        raise Unknown("a patch elsewhere than at a gateway")
    services: Sequence[str] = added["value"]["typed_config"]["services"]
    return services


def _rpc_of(transcoded: Sequence[str], verb: str, path: str) -> str:
    """The RPC whose `google.api.http` option fits; a variable stands for one part of a path."""
    for method in (method for service in services() for method in service.methods):
        if method.containing_service.full_name not in transcoded:
            continue
        for one in bindings(method):
            shape = "".join("[^/:]+" if VARIABLE.fullmatch(part) else re.escape(part) for part in PARTS.split(one.path))
            if one.verb.upper() == verb and re.fullmatch(shape, path):
                return f"/{method.containing_service.full_name}/{method.name}"
    return path


PARTS = re.compile(r"(\{\w+\})")
_AUTHORIZATION = "authorization"
_BEARER = {"name": _AUTHORIZATION, "prefix": "Bearer "}
_PROVIDER = (
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


def _bearer(header: str) -> str | None:
    return header.removeprefix("Bearer ") if header.startswith("Bearer ") else None


def _action(policy: Resource) -> str:
    return str((policy.get("spec") or {}).get("action", "ALLOW"))


def _leads(match: Mapping[str, Any], path: str) -> bool:
    _known(match, "uri")
    [(how, text)] = match["uri"].items()
    if how not in ("exact", "prefix"):
        raise Unknown(f"match by {how}")
    return path == text if how == "exact" else path.startswith(text)


def _namespace(resource: Resource) -> str:
    return str(resource["metadata"].get("namespace", ""))


def _selector(resource: Resource) -> Mapping[str, str]:
    labels: Mapping[str, str] = (resource.get("spec") or {}).get("selector", {}).get("matchLabels", {})
    return labels


class _Facts:
    """A request with what its token says, for the rules to be matched against."""

    def __init__(self, request: Request, claims: Mapping[str, Any] | None, *, identified: bool = True) -> None:
        self._request = request
        self._identified = identified
        self._claims = claims
        self._user = f"{claims['iss']}/{claims['sub']}" if claims else ""

    def match(self, policy: Resource) -> bool:
        """Whether any rule of the policy matches. A policy without rules matches nothing."""
        rules = (policy.get("spec") or {}).get("rules", [])
        # All are evaluated, so that one that is not known is seen.
        results = [self._rule(rule) for rule in rules]
        return any(results)

    def _rule(self, rule: Mapping[str, Any]) -> bool:
        _known(rule, "from", "to", "when")
        sources = [self._source(one["source"]) for one in rule.get("from", [])]
        operations = [self._operation(one["operation"]) for one in rule.get("to", [])]
        conditions = [self._condition(one) for one in rule.get("when", [])]
        return (not sources or any(sources)) and (not operations or any(operations)) and all(conditions)

    def _source(self, source: Mapping[str, Any]) -> bool:
        request = self._request
        if not self._identified and {"requestPrincipals", "notRequestPrincipals"} & source.keys():
            raise Unknown("people, before they are known")
        facts = {"principals": request.principal, "requestPrincipals": self._user, "namespaces": request.namespace}
        return _fields(source, facts)

    def _operation(self, operation: Mapping[str, Any]) -> bool:
        request = self._request
        if any("{" in path for path in (*operation.get("paths", ()), *operation.get("notPaths", ()))):
            raise Unknown("path templates")
        facts = {"paths": request.path, "methods": request.method, "ports": str(request.port), "hosts": request.host}
        return _fields(operation, facts)

    def _condition(self, condition: Mapping[str, Any]) -> bool:
        _known(condition, "key", "values", "notValues")
        found = self._attribute(condition["key"])
        wanted, unwanted = condition.get("values"), condition.get("notValues")
        holds = wanted is None or any(_matches(pattern, value) for pattern in wanted for value in found)
        return holds and not any(_matches(pattern, value) for pattern in unwanted or () for value in found)

    def _attribute(self, key: str) -> list[str]:
        name, _, rest = key.partition("[")
        inner = rest.removesuffix("]")
        claims = self._claims or {}
        if name.startswith("request.auth.") and not self._identified:
            raise Unknown("people, before they are known")
        match name:
            case "request.auth.claims":
                value = claims.get(inner, [])
                return [str(one) for one in value] if isinstance(value, list) else [str(value)]
            case "request.auth.principal":
                return [self._user]
            case "request.headers":
                return [self._request.sent.get(inner, "")]
            case "source.principal":
                return [self._request.principal]
            case "source.namespace":
                return [self._request.namespace]
            case "destination.port":
                return [str(self._request.port)]
            case _:
                raise Unknown(f"condition on {key}")


def _fields(wanted: Mapping[str, Any], facts: Mapping[str, str]) -> bool:
    """Fields are all of them, the values of one field any of them; `notX` is the opposite of `x`."""
    negative = {f"not{name[0].upper()}{name[1:]}": name for name in facts}
    _known(wanted, *facts, *negative)
    positives = all(_any(wanted[name], fact) for name, fact in facts.items() if name in wanted)
    return positives and not any(_any(wanted[no], facts[name]) for no, name in negative.items() if no in wanted)


def _any(patterns: Iterable[str], value: str) -> bool:
    return any(_matches(pattern, value) for pattern in patterns)


def _matches(pattern: str, value: str) -> bool:
    """Exact, `prefix*`, `*suffix`, or `*` for anything there is."""
    if pattern == "*":
        return value != ""
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value == pattern


def _known(given: Mapping[str, Any], *names: str) -> None:
    if unknown := given.keys() - set(names):
        raise Unknown(f"fields {sorted(unknown)}")

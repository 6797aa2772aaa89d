"""Who may call whom: mutual TLS everywhere, tokens checked everywhere, and nothing allowed that no rule names."""

from collections.abc import Iterator, Mapping, Sequence

from mesh.istio.control_plane import KEYS_PREFIX, provider_of
from mesh.istio.plan import (
    AUTH,
    CHECKS_PORT,
    EDGE,
    GATEWAY,
    GATEWAY_PORT,
    HOST,
    JWKS_PATH,
    KEYS_PORT,
    NAMESPACE,
    OAUTH_PORT,
    OPENAI_PORT,
    RPC_PORT,
    TOKEN_AUDIENCE,
    WEB,
    WEB_PORT,
    Document,
    Plan,
    document,
    is_service,
    principal,
    selector,
)
from mesh.policy.http import OAUTH_DOCUMENTS, OAUTH_PREFIX, OPENAI_PREFIX
from mesh.policy.table import Rule
from services.common import revocations
from services.common.tokens import audience_of

API = "security.istio.io/v1"
ANY_TOKEN = ["*"]
RPC_PATHS = ("/deskmesh.*", "/grpc.*")
# Whose rules name no peer.
DENY_ALL = "deny-all"
PUBLIC_KEYS = "auth-keys"
API_KEYS = "api-keys"
WITHOUT_PRINCIPALS = (DENY_ALL, EDGE, PUBLIC_KEYS, API_KEYS)


def base() -> list[Document]:
    """For every workload of the namespace."""
    return [
        document(API, "PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}),
        # A policy without a rule allows nothing, and its presence alone refuses what no other allows.
        document(API, "AuthorizationPolicy", DENY_ALL, {}),
    ]


def of_workload(plan: Plan, workload: str) -> list[Document]:
    """What one workload lets in."""
    # Who asks the gateway about a key sends the key where tokens stand, so the gateway's own proxy must not judge it.
    # The gateway verifies tokens itself, as every service does.
    tokens = [_tokens(plan, workload)] if workload in (*plan.callees, EDGE, WEB) else []
    return [*tokens, *_policies(plan, workload)]


def _tokens(plan: Plan, workload: str) -> Document:
    """Which tokens of people hold."""
    # One that holds at one service only, its service knows from its own name.
    narrow = [audience_of(TOKEN_AUDIENCE, workload) for workload in plan.reached_from_outside if workload != AUTH]
    # One that opens nothing but who somebody is; no service takes it.
    narrow.append(audience_of(TOKEN_AUDIENCE, "userinfo"))
    token = {
        "issuer": f"https://{HOST}",
        "audiences": [TOKEN_AUDIENCE, *narrow],
        "jwksUri": f"http://{AUTH}.{NAMESPACE}.svc.cluster.local:{KEYS_PORT}{JWKS_PATH}",
        "fromHeaders": [{"name": "authorization", "prefix": "Bearer "}],
        # Each service verifies the token again and reads the person from it.
        "forwardOriginalToken": True,
    }
    chosen = {"selector": {"matchLabels": selector(workload)}}
    return document(API, "RequestAuthentication", workload, {**chosen, "jwtRules": [token]})


def _policies(plan: Plan, workload: str) -> list[Document]:
    if workload == EDGE:
        return [_api_keys(), _allow(EDGE, list(_at_the_door(plan)))]
    if workload == GATEWAY:
        checks = {"ports": [str(CHECKS_PORT)], "paths": [f"{KEYS_PREFIX}/*"]}
        return [_allow(GATEWAY, [_rule([EDGE], [checks]), _rule([EDGE], [_openai(OPENAI_PORT)])])]
    if workload == WEB:
        reading = {"ports": [str(WEB_PORT)], "methods": ["GET", "HEAD"]}
        return [_allow(WEB, [_rule([EDGE], [reading])])]
    rules = list(_calls(plan, workload))
    if workload != AUTH:
        return [_allow(workload, rules)] if rules else []
    keys = {"ports": [str(KEYS_PORT)], "methods": ["GET"], "paths": [JWKS_PATH]}
    services = [one for one in plan.workloads if is_service(one) and one != AUTH]
    revoked = {"ports": [str(KEYS_PORT)], "methods": ["GET"], "paths": [revocations.PATH]}
    # Istio's control plane fetches the public keys, and has no identity of the mesh.
    open_port = {"selector": {"matchLabels": selector(AUTH)}, "mtls": {"mode": "STRICT"}}
    ports = {str(KEYS_PORT): {"mode": "PERMISSIVE"}}
    return [
        _allow(AUTH, rules),
        document(API, "PeerAuthentication", PUBLIC_KEYS, {**open_port, "portLevelMtls": ports}),
        _allow(AUTH, [{"to": [{"operation": keys}]}], name=PUBLIC_KEYS),
        _allow(AUTH, [_rule(services, [revoked])], name="auth-revocations"),
        _allow(AUTH, [_rule([EDGE], [_oauth(OAUTH_PORT)])], name="auth-oauth"),
    ]


def _api_keys() -> Document:
    """A key becomes a token before tokens are checked; requests without a key pass by."""
    # Header values know no patterns: other spellings of "Bearer" are no tokens either, and so let nobody in.
    bearer = [f"{scheme} dm_*" for scheme in ("Bearer", "bearer")]
    keys = {"x-api-key": ["*"], "authorization": bearer}
    rules = [{"when": [{"key": f"request.headers[{header}]", "values": values}]} for header, values in keys.items()]
    provider = {"name": provider_of(NAMESPACE)}
    spec = {"selector": {"matchLabels": selector(EDGE)}, "action": "CUSTOM", "provider": provider, "rules": rules}
    return document(API, "AuthorizationPolicy", API_KEYS, spec)


def _at_the_door(plan: Plan) -> Iterator[Document]:
    """The edge has no peers with identities; what it knows is the path and whether a token held."""
    signed_in = [rule for rule in plan.from_outside if not rule.anonymous]
    anonymous = [rule for rule in plan.from_outside if rule.anonymous]
    yield _rule([], [_paths(signed_in, GATEWAY_PORT)], ANY_TOKEN)
    yield _rule([], [_paths(anonymous, GATEWAY_PORT)])
    page = {
        "ports": [str(GATEWAY_PORT)],
        "methods": ["GET", "HEAD", "OPTIONS"],
        "notPaths": [*RPC_PATHS, f"{OPENAI_PREFIX}*"],
    }
    yield _rule([], [page])
    yield _rule([], [_openai(GATEWAY_PORT)], ANY_TOKEN)
    yield _rule([], [_oauth(GATEWAY_PORT)])
    # A browser asks whether another origin may call before it calls, and sends no token then.
    preflight = {"ports": [str(GATEWAY_PORT)], "methods": ["OPTIONS"], "paths": ["/deskmesh.*", f"{OPENAI_PREFIX}*"]}
    yield _rule([], [preflight])


def _calls(plan: Plan, callee: str) -> Iterator[Document]:
    """A rule for each caller; for the edge one more, because people must have signed in for most RPCs."""
    for caller in plan.callers_of(callee):
        theirs = [rule for rule in plan.of_callee(callee) if caller in rule.callers]
        if caller != EDGE:
            # Workloads name the person they act for under their own certificate.
            yield _rule([caller], [_paths(theirs, RPC_PORT)])
            continue
        if signed_in := [rule for rule in theirs if not rule.anonymous]:
            yield _rule([caller], [_paths(signed_in, RPC_PORT)], ANY_TOKEN)
        if anonymous := [rule for rule in theirs if rule.anonymous]:
            yield _rule([caller], [_paths(anonymous, RPC_PORT)])


def _oauth(port: int) -> Document:
    """Programs prove there who they are in other ways than by a token of a person."""
    return {"ports": [str(port)], "methods": ["GET", "POST"], "paths": [f"{OAUTH_PREFIX}*", *OAUTH_DOCUMENTS]}


def _openai(port: int) -> Document:
    """Everything under it, by any method: what there is not the gateway says in that API's words."""
    return {"ports": [str(port)], "paths": [f"{OPENAI_PREFIX}*"]}


def _paths(rules: Sequence[Rule], port: int) -> Document:
    return {"ports": [str(port)], "methods": ["POST"], "paths": [rule.method for rule in rules]}


def _rule(callers: Sequence[str], operations: Sequence[Mapping[str, object]], tokens: Sequence[str] = ()) -> Document:
    source: Document = {}
    if callers:
        source["principals"] = [principal(caller) for caller in callers]
    if tokens:
        source["requestPrincipals"] = list(tokens)
    to: Document = {"to": [{"operation": operation} for operation in operations]}
    return {"from": [{"source": source}], **to} if source else to


def _allow(workload: str, rules: list[Document], name: str = "") -> Document:
    spec = {"selector": {"matchLabels": selector(workload)}, "action": "ALLOW", "rules": rules}
    return document(API, "AuthorizationPolicy", name or workload, spec)

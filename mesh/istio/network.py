"""What Kubernetes itself knows of the workloads: accounts, services, and a network that is closed by default."""

from mesh.istio.plan import (
    AUTH,
    CHECKS_PORT,
    EDGE,
    GATEWAY,
    GATEWAY_PORT,
    KEYS_PORT,
    OAUTH_PORT,
    OPENAI_PORT,
    RPC_PORT,
    WEB,
    WEB_PORT,
    Document,
    Plan,
    document,
    externals_of,
    is_service,
    selector,
)

API = "networking.k8s.io/v1"
PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# What no identity provider has an address in; auth itself looks closer (services/auth/adapters/outside.py).
NOT_PUBLIC = (*PRIVATE_RANGES, "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")
HTTPS_PORT = 443
CONTROL_PLANE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}}}
DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}


def base() -> list[Document]:
    """No pod talks to any other, but for names and the mesh's own control."""
    everybody: Document = {"podSelector": {}}
    control = {
        **everybody,
        "policyTypes": ["Egress"],
        "egress": [
            {"to": [DNS], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {"to": [CONTROL_PLANE], "ports": [{"protocol": "TCP", "port": 15012}]},
        ],
    }
    return [
        document(API, "NetworkPolicy", "deny-all", {**everybody, "policyTypes": ["Ingress", "Egress"]}),
        document(API, "NetworkPolicy", "names-and-control", control),
    ]


def of_workload(plan: Plan, workload: str) -> list[Document]:
    """A workload's account, its service if it serves anything, and its holes in the closed network."""
    account = document("v1", "ServiceAccount", workload, automountServiceAccountToken=False)
    spec = {
        "podSelector": {"matchLabels": selector(workload)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": _ingress(plan, workload),
        "egress": _egress(plan, workload),
    }
    served = ports(plan, workload)
    # People come in from outside; their addresses must stay, because limits and the audit log go by them.
    door = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"} if workload == EDGE else {}
    spec_of_service = {**door, "selector": selector(workload), "ports": served}
    service = [document("v1", "Service", workload, spec_of_service)] if served else []
    return [account, *service, document(API, "NetworkPolicy", workload, spec), *_rights(workload)]


def _rights(workload: str) -> list[Document]:
    """Istio hands the door's certificate to whoever may list Secrets; its pods have no token to do so themselves."""
    if workload != EDGE:
        return []
    name, api = "edge-certificate", "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}]
    subjects = [{"kind": "ServiceAccount", "name": workload}]
    role = {"apiGroup": api, "kind": "Role", "name": name}
    return [
        document(f"{api}/v1", "Role", name, rules=rules),
        document(f"{api}/v1", "RoleBinding", name, roleRef=role, subjects=subjects),
    ]


def ports(plan: Plan, workload: str) -> list[Document]:
    """The ports of a workload's Service."""
    if workload == EDGE:
        return [{"name": "https", "port": 443, "targetPort": GATEWAY_PORT, "protocol": "TCP"}]
    if workload == WEB:
        return [_http("http", WEB_PORT)]
    if workload == GATEWAY:
        return [_http("http-checks", CHECKS_PORT), _http("http-openai", OPENAI_PORT)]
    if workload not in plan.callees:
        return []
    # By this protocol's name the callee's proxy understands grpc-web besides gRPC.
    found: list[Document] = [{"name": "grpc-web", "port": RPC_PORT, "protocol": "TCP", "appProtocol": "grpc-web"}]
    if workload == AUTH:
        found += [_http("http-keys", KEYS_PORT), _http("http-oauth", OAUTH_PORT)]
    return found


def _ingress(plan: Plan, workload: str) -> list[Document]:
    if workload == EDGE:
        return [{"ports": [_tcp(GATEWAY_PORT)]}]
    if workload == GATEWAY:
        return [{"from": [_pods(EDGE)], "ports": [_tcp(CHECKS_PORT), _tcp(OPENAI_PORT)]}]
    if workload != WEB and workload not in plan.callees:
        return []
    port = WEB_PORT if workload == WEB else RPC_PORT
    rules: list[Document] = [{"from": [_pods(caller) for caller in plan.callers_of(workload)], "ports": [_tcp(port)]}]
    if workload == AUTH:
        rules.append({"from": [{"podSelector": {}}, CONTROL_PLANE], "ports": [_tcp(KEYS_PORT)]})
        rules.append({"from": [_pods(EDGE)], "ports": [_tcp(OAUTH_PORT)]})
    return rules


def _egress(plan: Plan, workload: str) -> list[Document]:
    callees = [callee for callee in plan.callees_of(workload) if callee != WEB]
    rules: list[Document] = []
    if callees:
        rules.append({"to": [_pods(callee) for callee in callees], "ports": [_tcp(RPC_PORT)]})
    if workload == EDGE:
        rules.append({"to": [_pods(WEB)], "ports": [_tcp(WEB_PORT)]})
        rules.append({"to": [_pods(AUTH)], "ports": [_tcp(OAUTH_PORT)]})
        rules.append({"to": [_pods(GATEWAY)], "ports": [_tcp(CHECKS_PORT), _tcp(OPENAI_PORT)]})
    if is_service(workload) and workload != AUTH:
        rules.append({"to": [_pods(AUTH)], "ports": [_tcp(KEYS_PORT)]})
    outside = [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE_RANGES]
    rules.append({"to": outside, "ports": [_tcp(external.port) for external in externals_of(workload)]})
    if workload == AUTH:
        # Providers by which organizations sign in: their owners name them, so nobody knows them beforehand.
        internet = {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC)}}
        rules.append({"to": [internet], "ports": [_tcp(HTTPS_PORT)]})
    return rules


def _pods(workload: str) -> Document:
    return {"podSelector": {"matchLabels": selector(workload)}}


def _http(name: str, port: int) -> Document:
    return {"name": name, "port": port, "protocol": "TCP", "appProtocol": "http"}


def _tcp(port: int) -> Document:
    return {"protocol": "TCP", "port": port}

"""Who may reach Ray: its own pods, KubeRay's operator, and from inside only what a group needs."""

from mesh.istio.network import API, DNS, PRIVATE_RANGES
from mesh.istio.plan import STORES, TELEMETRY, Document, document
from mesh.kuberay.pods import APP, OF_RAY

# Where the Helm chart puts the operator, unless it is told otherwise.
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
}
OWN = {"podSelector": {"matchLabels": OF_RAY}}
HEAD = {**OF_RAY, "ray.io/node-type": "head"}
DASHBOARD_PORT, KUBERNETES_PORTS, HTTPS_PORT = 8265, (443, 6443), 443


def policies() -> list[Document]:
    """The holes in a namespace that is closed by default."""
    valkey = next(store for store in STORES if store.name == "valkey")
    private = [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE_RANGES]
    names = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    among = {
        "podSelector": {"matchLabels": OF_RAY},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [OWN]}],
        "egress": [
            {"to": [OWN]},
            {"to": [DNS], "ports": names},
            {"to": private, "ports": [_tcp(TELEMETRY.port)]},
        ],
    }
    head = {
        "podSelector": {"matchLabels": HEAD},
        "policyTypes": ["Ingress", "Egress"],
        # The operator hands over what Serve is to run, under the cluster's token.
        "ingress": [{"from": [OPERATOR], "ports": [_tcp(DASHBOARD_PORT)]}],
        # The autoscaler asks Kubernetes for machines; what must outlive the head is in Valkey.
        "egress": [{"to": private, "ports": [*(_tcp(port) for port in KUBERNETES_PORTS), _tcp(valkey.port)]}],
    }
    outside = {
        "podSelector": {"matchLabels": {**OF_RAY, "deskmesh/outside": "true"}},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE_RANGES)}}],
                "ports": [_tcp(HTTPS_PORT)],
            }
        ],
    }
    return [
        document(API, "NetworkPolicy", APP, among),
        document(API, "NetworkPolicy", f"{APP}-head", head),
        document(API, "NetworkPolicy", f"{APP}-outside", outside),
    ]


def _tcp(port: int) -> Document:
    return {"protocol": "TCP", "port": port}

"""What Istio itself must be told, as values for its Helm chart `istiod`: it stands in no resource of a namespace.

The edge asks the gateway about API keys by Istio's external authorization, whose providers are the mesh's own settings.
The check is the one of the laptop's edge (`mesh/envoy/templates/edge.yaml.j2`); a test holds the two together.
"""

from mesh.istio.plan import CHECKS_PORT, GATEWAY, TRUST_DOMAIN, Document

# Requests come to the gateway with this before their paths.
KEYS_PREFIX = "/keys"
CHECK_SECONDS = 3
ASKED_WITH = ("authorization", "x-api-key", "x-forwarded-for", "traceparent")
TOLD_BESIDE_AN_ANSWER = ("ratelimit-*", "x-ratelimit-*")
TOLD_WITH_A_REFUSAL = ("grpc-status", "grpc-message", "grpc-status-details-bin", "retry-after", "content-type")


def provider_of(namespace: str) -> str:
    """The name by which a namespace's policies call the provider of theirs."""
    return f"api-keys.{namespace}"


def values(namespace: str) -> Document:
    """For one environment. A control plane of several takes the providers of them all."""
    return {
        "meshConfig": {
            "trustDomain": TRUST_DOMAIN,
            # Policies go by paths, so there must be one way to write each.
            "pathNormalization": {"normalization": "MERGE_SLASHES"},
            "extensionProviders": [{"name": provider_of(namespace), "envoyExtAuthzHttp": _check(namespace)}],
        }
    }


def _check(namespace: str) -> Document:
    return {
        "service": f"{GATEWAY}.{namespace}.svc.cluster.local",
        "port": CHECKS_PORT,
        "pathPrefix": KEYS_PREFIX,
        "timeout": f"{CHECK_SECONDS}s",
        # Without the gateway keys let nobody in; tokens go on.
        "failOpen": False,
        "statusOnError": "503",
        "includeRequestHeadersInCheck": list(ASKED_WITH),
        "headersToUpstreamOnAllow": ["authorization"],
        "headersToDownstreamOnAllow": list(TOLD_BESIDE_AN_ANSWER),
        "headersToDownstreamOnDeny": list(TOLD_WITH_A_REFUSAL),
    }

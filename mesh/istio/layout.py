"""Which file holds what, and how kustomize puts an environment together from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mesh.istio import control_plane, egress, kustomize, migrate, network, pods, security, traffic
from mesh.istio.deployed import BY_NAME, DEPLOYED
from mesh.istio.kustomize import SETTINGS, replace, target, variable
from mesh.istio.plan import AUTH, EDGE, HOST, STORES, TELEMETRY, Document, Plan, document, externals_of, is_service
from mesh.istio.text import as_text

FOLDER = PurePosixPath("mesh/istio")
HEADER = "# Written by `python -m mesh.policy.generate` from the policy options in protos/. Do not edit.\n"


@dataclass(frozen=True)
class Environment:
    """Where people reach it, and how many pods of each workload there are; None leaves that to the workload."""

    host: str
    fewest: int | None = None
    most: int | None = None


# By the namespace, which the services' identities say.
ENVIRONMENTS = {
    "dev": Environment(f"dev.{HOST}", 1, 1),
    "staging": Environment(f"staging.{HOST}", 2, 3),
    "prod": Environment(HOST),
}
# No image has it: whoever sets up an environment names theirs.
NO_DIGEST = "sha256:" + 64 * "0"
CONTROL_PLANE = "control-plane"
# Nothing else lies in these.
FOLDERS = ("base", "services", "components", "overlays", migrate.NAME, CONTROL_PLANE)


def files(plan: Plan) -> dict[PurePosixPath, str]:
    """Every file under `FOLDER`, with its text."""
    found: dict[PurePosixPath, str] = {}
    base = {"security": security.base(), "traffic": traffic.base(plan), "network": network.base()}
    found |= _folder("base", base)
    for workload in plan.workloads:
        parts = {
            "workload": network.of_workload(plan, workload),
            "security": security.of_workload(plan, workload),
            "traffic": traffic.of_workload(plan, workload),
            "pods": pods.of_workload(plan, BY_NAME[workload]) if workload in BY_NAME else [],
        }
        found |= _folder(f"services/{workload}", parts)
    found |= _file("services/kustomization", kustomize.kustomization(resources=list(plan.workloads)))
    found |= _folder(migrate.NAME, {"job": migrate.documents()})
    found |= _file(f"components/{SETTINGS}/kustomization", _component(plan))
    for name, resources, content in (
        ("mail", egress.mail(), egress.mail_component()),
        ("vault", egress.vault(), egress.vault_component()),
    ):
        found |= _file(f"components/{name}/egress", *resources)
        found |= _file(f"components/{name}/kustomization", kustomize.component(resources=["egress.yaml"], **content))
    for environment, of_it in ENVIRONMENTS.items():
        found |= _overlay(environment, of_it)
        found |= _file(f"{CONTROL_PLANE}/{environment}", control_plane.values(environment))
    return found


def _folder(folder: str, parts: Mapping[str, list[Document]]) -> dict[PurePosixPath, str]:
    held = {name: documents for name, documents in parts.items() if documents}
    found = _file(f"{folder}/kustomization", kustomize.kustomization(resources=[f"{name}.yaml" for name in held]))
    for name, documents in held.items():
        found |= _file(f"{folder}/{name}", *documents)
    return found


def _overlay(environment: str, of_it: Environment) -> dict[PurePosixPath, str]:
    folder = f"overlays/{environment}"
    data = {"namespace": environment, "host": of_it.host, "origin": f"https://{of_it.host}"}
    # Each environment has stores of its own, and those below if it has their components.
    data |= {external.name: f"{external.name}.{environment}.internal" for external in (*STORES, TELEMETRY)}
    data |= {"smtp": f"smtp.{environment}.internal", "vault": f"vault.{environment}.internal:{egress.VAULT.port}"}
    namespace = document("v1", "Namespace", environment)
    namespace["metadata"] = {
        "name": environment,
        "labels": {
            "app.kubernetes.io/part-of": "deskmesh",
            "istio-injection": "enabled",
            "pod-security.kubernetes.io/enforce": "restricted",
        },
    }
    kustomization = kustomize.kustomization(
        namespace=environment,
        resources=["namespace.yaml", f"{SETTINGS}.yaml", "../../base", "../../services"],
        components=[f"../../components/{SETTINGS}"],
        images=_images(),
        **_sizes(of_it),
    )
    migrated = kustomize.kustomization(namespace=environment, resources=[f"../../../{migrate.NAME}"], images=_images())
    return (
        _file(f"{folder}/kustomization", kustomization)
        | _file(f"{folder}/{migrate.NAME}/kustomization", migrated)
        | _file(f"{folder}/namespace", namespace)
        | _file(f"{folder}/{SETTINGS}", kustomize.settings(**data))
    )


def _images() -> list[Document]:
    return [{"name": pods.IMAGE, "newName": pods.IMAGE, "digest": NO_DIGEST}]


def _sizes(of_it: Environment) -> Document:
    numbers = {"minReplicas": of_it.fewest, "maxReplicas": of_it.most}
    changes = [
        {"op": "replace", "path": f"/spec/{name}", "value": number}
        for name, number in numbers.items()
        if number is not None
    ]
    if not changes:
        return {}
    return {"patches": [kustomize.patch(changes, "HorizontalPodAutoscaler")]}


def _component(plan: Plan) -> Document:
    """Puts an environment's namespace, host and stores where the manifests have their own."""
    callers = "spec.rules.*.from.*.source.principals.*"
    untold = [one.name for one in DEPLOYED if not one.settings]
    # A Sidecar's hosts: those outside first, in the order of `externals_of`, then those inside.
    alone = [workload for workload in plan.workloads if not traffic.called_by(plan, workload)]
    storeless = [workload for workload in plan.workloads if not is_service(workload) and workload != EDGE]

    def external(position: int, name: str, reject: Sequence[str]) -> Document:
        hosts = target("Sidecar", f"spec.egress.0.hosts.{position}", reject, delimiter="/", index=1)
        endpoint = target("Deployment", variable("OTLP_ENDPOINT"), untold, delimiter=":", index=0)
        entry = target("ServiceEntry", "spec.hosts.0", name=name)
        return replace(name, entry, hosts, *([endpoint] if name == TELEMETRY.name else []))

    return kustomize.component(
        replacements=[
            replace(
                "namespace",
                target("AuthorizationPolicy", callers, security.WITHOUT_PRINCIPALS, delimiter="/", index=2),
                target("AuthorizationPolicy", "spec.provider.name", name=security.API_KEYS, delimiter=".", index=1),
                target("RequestAuthentication", "spec.jwtRules.*.jwksUri", delimiter=".", index=1),
                target("Sidecar", "spec.egress.1.hosts.*", alone, delimiter=".", index=2),
            ),
            *(
                external(position, one.name, () if one is TELEMETRY else storeless)
                for position, one in enumerate(externals_of(AUTH))
            ),
            replace("host", target("Gateway", "spec.servers.*.hosts.*"), target("VirtualService", "spec.hosts.*")),
            replace(
                "origin",
                target("VirtualService", "spec.http.*.corsPolicy.allowOrigins.*.exact"),
                target("RequestAuthentication", "spec.jwtRules.*.issuer"),
                target("Deployment", variable("TOKEN_ISSUER"), untold),
                target("Deployment", variable("PUBLIC_URL"), name=AUTH),
            ),
        ]
    )


def _file(name: str, *documents: Document) -> dict[PurePosixPath, str]:
    return {FOLDER / f"{name}.yaml": HEADER + as_text(documents)}

"""What an environment may add to what leaves it: a mail server, and a Vault or OpenBao with the secrets.

Each is a component of kustomize, so that nothing leaves by a way that nobody uses.
"""

from mesh.istio.deployed import DEPLOYED, Deployed
from mesh.istio.kustomize import patch, replace, target, variable
from mesh.istio.network import API as NETWORK_API
from mesh.istio.network import PRIVATE_RANGES
from mesh.istio.plan import AUTH, NAMESPACE, Document, External, document, selector
from mesh.istio.traffic import entry

# Which of its ports counts, auth's `smtp_url` says: TLS from the beginning, or STARTTLS.
MAIL = (
    External("smtps", f"smtp.{NAMESPACE}.internal", 465),
    External("smtp", f"smtp.{NAMESPACE}.internal", 587),
)
VAULT = External("vault", f"vault.{NAMESPACE}.internal", 8200)
VAULT_FOLDER = "/etc/deskmesh/vault"
# Below this each service has a secret of its name.
VAULT_PATH = "secret/data/deskmesh"
ANYWHERE = "0.0.0.0/0"
# Where the pods of `pods.py` have the volume of their Secret.
SECRETS_VOLUME = 2


def mail() -> list[Document]:
    """Auth alone writes letters; its mail server may stand anywhere."""
    ports = [{"protocol": "TCP", "port": one.port} for one in MAIL]
    rule = {"to": [{"ipBlock": {"cidr": ANYWHERE}}], "ports": ports}
    spec = {"podSelector": {"matchLabels": selector(AUTH)}, "policyTypes": ["Egress"], "egress": [rule]}
    return [document(NETWORK_API, "NetworkPolicy", "mail", spec), entry("mail", *MAIL)]


def vault() -> list[Document]:
    """Every service reads its secrets there."""
    rule = {
        "to": [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE_RANGES],
        "ports": [{"protocol": "TCP", "port": VAULT.port}],
    }
    names = [one.name for one in with_secrets()]
    chosen = {"matchExpressions": [{"key": "app", "operator": "In", "values": names}]}
    spec = {"podSelector": chosen, "policyTypes": ["Egress"], "egress": [rule]}
    return [document(NETWORK_API, "NetworkPolicy", VAULT.name, spec), entry(VAULT.name, VAULT)]


def with_secrets() -> list[Deployed]:
    """Who has any."""
    return [one for one in DEPLOYED if one.secrets]


def told_of_vault(one: Deployed) -> list[Document]:
    """Changes of a Deployment: where the Vault is, and what opens it. Its own Secret may be missing then."""
    settings = {
        "ADDRESS": f"https://{VAULT.host}:{VAULT.port}",
        "PATH": f"{VAULT_PATH}/{one.name}",
        "TOKEN_FILE": f"{VAULT_FOLDER}/token",
        "CA_FILE": f"{VAULT_FOLDER}/ca.crt",
    }
    pod, container = "/spec/template/spec", "/spec/template/spec/containers/0"
    variables = [{"name": f"DESKMESH_VAULT_{name}", "value": value} for name, value in settings.items()]
    mount = {"name": VAULT.name, "mountPath": VAULT_FOLDER, "readOnly": True}
    volume = {"name": VAULT.name, "secret": {"secretName": f"{one.name}-vault", "defaultMode": 0o440}}
    return [
        *(_add(f"{container}/env/-", variable) for variable in variables),
        _add(f"{container}/volumeMounts/-", mount),
        _add(f"{pod}/volumes/{SECRETS_VOLUME}/secret/optional", value=True),
        _add(f"{pod}/volumes/-", volume),
    ]


def mail_component() -> Document:
    """What the component changes."""
    host = replace("smtp", target("ServiceEntry", "spec.hosts.0", name="mail"), _known_to(MAIL[0].host, AUTH))
    return {"patches": [_reaching(MAIL[0].host, AUTH)], "replacements": [host]}


def vault_component() -> Document:
    """What the component changes."""
    names = [one.name for one in with_secrets()]
    told = [patch(told_of_vault(one), "Deployment", one.name) for one in with_secrets()]
    entry_host = target("ServiceEntry", "spec.hosts.0", name=VAULT.name)
    hosts = replace("vault", entry_host, *(_known_to(VAULT.host, name) for name in names), delimiter=":", index=0)
    addresses = [target("Deployment", variable("VAULT_ADDRESS"), name=name, delimiter="/", index=2) for name in names]
    patches = [*told, *(_reaching(VAULT.host, name) for name in names)]
    return {"patches": patches, "replacements": [hosts, replace("vault", *addresses)]}


def _reaching(host: str, workload: str) -> Document:
    """Lets a workload's proxy know a host."""
    return patch([_add("/spec/egress/-", {"hosts": [f"./{host}"]})], "Sidecar", workload)


def _known_to(host: str, workload: str) -> Document:
    return target("Sidecar", f"spec.egress.*.hosts.[=./{host}]", name=workload, delimiter="/", index=1)


def _add(path: str, value: object) -> Document:
    return {"op": "add", "path": path, "value": value}

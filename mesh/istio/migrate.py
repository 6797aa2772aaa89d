"""The Job that brings the database to the newest version, before the pods that need it come.

It is applied by itself and waited for: a container that starts before the others of a pod reaches no database, because
the pod's proxy does not run yet, and a Job with a proxy never ends. So its pod is outside of the mesh.
"""

from mesh.istio.deployed import DEPLOYED, OF_POSTGRES, SECRETS
from mesh.istio.network import API, DNS, PRIVATE_RANGES
from mesh.istio.plan import STORES, Document, document, selector
from mesh.istio.pods import USUAL, container

NAME = "migrations"
PASSWORDS = f"{SECRETS}/passwords.json"
# The services that keep records.
MIGRATED = tuple(one.name for one in DEPLOYED if "database_url" in one.secrets)
# What it may take, and how long one may look at its log.
LONGEST_SECONDS, KEPT_SECONDS = 1800, 86_400


def documents() -> list[Document]:
    """The account, the way to the database and the Job."""
    postgres = next(store for store in STORES if store.name == "postgres")
    names = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    private = [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE_RANGES]
    network = {
        "podSelector": {"matchLabels": selector(NAME)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [
            {"to": [DNS], "ports": names},
            {"to": private, "ports": [{"protocol": "TCP", "port": postgres.port}]},
        ],
    }
    return [
        document("v1", "ServiceAccount", NAME, automountServiceAccountToken=False),
        document(API, "NetworkPolicy", NAME, network),
        document("batch/v1", "Job", NAME, _job()),
    ]


def _job() -> Document:
    settings = {
        "DESKMESH_SECRETS_MOUNT": SECRETS,
        "DESKMESH_DATABASE_PASSWORDS_FILE": PASSWORDS,
        **OF_POSTGRES,
    }
    size = {"cpu": "250m", "memory": "256Mi"}
    one = container(
        NAME,
        ("python", "-m", "services.common.migrate", *MIGRATED),
        env=[{"name": name, "value": value} for name, value in settings.items()],
        resources={"requests": size, "limits": {"memory": "512Mi"}},
        volumeMounts=[
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "secrets", "mountPath": SECRETS, "readOnly": True},
        ],
    )
    specification = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": USUAL,
        "containers": [one],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "secrets", "secret": {"secretName": f"{NAME}-settings", "defaultMode": 0o440}},
        ],
    }
    labels = {**selector(NAME), "app.kubernetes.io/part-of": "deskmesh", "sidecar.istio.io/inject": "false"}
    return {
        # Each service's tables change in one transaction, so another try finds all of it done or nothing.
        "backoffLimit": 3,
        "activeDeadlineSeconds": LONGEST_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": {"labels": labels}, "spec": specification},
    }

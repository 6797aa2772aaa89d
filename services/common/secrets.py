"""Where settings that are secret may come from besides `DESKMESH_*` variables; each is read once, at the start.

A store is anything that gives values by the names of settings, such as "database_url". Stores are asked in this order,
and what an earlier one gives counts:

- files that the environment names: `DESKMESH_DATABASE_URL_FILE` is the file that holds `DESKMESH_DATABASE_URL`;
- a folder with a file for each setting, `DESKMESH_SECRETS_MOUNT`: how Kubernetes mounts a Secret;
- a secret in the KV engine, version 2, of a Vault or OpenBao: `DESKMESH_VAULT_ADDRESS`, `DESKMESH_VAULT_PATH` such as
  "secret/data/deskmesh/auth", `DESKMESH_VAULT_TOKEN_FILE`, and `DESKMESH_VAULT_CA_FILE` unless the system's
  authorities do. It is asked by HTTPS only, but on this machine itself.
"""

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFIX = "DESKMESH_"
VAULT_SECONDS = 5.0
VAULT_BYTES = 1 << 20
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SecretsUnavailable(RuntimeError):
    """A store that was named does not give what it should; says which and why, never a value."""


class SecretStore(Protocol):
    """The port."""

    def read(self, names: frozenset[str]) -> Mapping[str, str]:
        """The values it has for these names. Raises SecretsUnavailable."""


class NamedFiles:
    """Files that variables of the environment name."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def read(self, names: frozenset[str]) -> Mapping[str, str]:
        named = {name: self._environment.get(f"{PREFIX}{name.upper()}_FILE", "") for name in names}
        # A setting of its own may end so, such as the file of a certificate.
        return {name: _text(Path(file)) for name, file in named.items() if file and f"{name}_file" not in names}


class MountedFolder:
    """A file for each setting; entries that are hidden are Kubernetes' own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, names: frozenset[str]) -> Mapping[str, str]:
        if not self._folder.is_dir():
            raise SecretsUnavailable(f"{PREFIX}SECRETS_MOUNT names no folder")
        return {name: _text(self._folder / name) for name in names if (self._folder / name).is_file()}


class Vault:
    """One secret of a KV engine, version 2."""

    def __init__(self, address: str, path: str, token: str, ca_file: Path | None = None) -> None:
        url = urlsplit(address)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise SecretsUnavailable(f"{PREFIX}VAULT_ADDRESS must begin with https://")
        self._url = f"{address.rstrip('/')}/v1/{quote(path.strip('/'))}"
        self._token = token
        self._tls = ssl.create_default_context(cafile=ca_file)

    def read(self, names: frozenset[str]) -> Mapping[str, str]:
        request = urllib.request.Request(self._url, headers={"X-Vault-Token": self._token})  # noqa: S310 - checked above
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self._tls), _NoRedirects())
        try:
            with opener.open(request, timeout=VAULT_SECONDS) as answer:
                found = json.loads(answer.read(VAULT_BYTES))["data"]["data"]
        except urllib.error.HTTPError as error:
            # The exception holds the connection, and lives as long as whoever keeps ours.
            error.close()
            raise SecretsUnavailable(f"the vault answers {error.code}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SecretsUnavailable(f"the vault does not answer as one: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise SecretsUnavailable("the vault holds no secret of names and values there")
        return {name: value for name, value in found.items() if name in names and isinstance(value, str)}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the vault that was named and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def stores(environment: Mapping[str, str]) -> list[SecretStore]:
    """The stores that the environment names, the first one to ask first. Raises SecretsUnavailable."""
    chosen: list[SecretStore] = [NamedFiles(environment)]
    if folder := environment.get(f"{PREFIX}SECRETS_MOUNT"):
        chosen.append(MountedFolder(Path(folder)))
    if address := environment.get(f"{PREFIX}VAULT_ADDRESS"):
        path, token = (environment.get(f"{PREFIX}VAULT_{name}", "") for name in ("PATH", "TOKEN_FILE"))
        if not path or not token:
            raise SecretsUnavailable(f"{PREFIX}VAULT_ADDRESS wants {PREFIX}VAULT_PATH and {PREFIX}VAULT_TOKEN_FILE")
        authorities = environment.get(f"{PREFIX}VAULT_CA_FILE")
        chosen.append(Vault(address, path, _text(Path(token)), Path(authorities) if authorities else None))
    return chosen


class SecretsSource(PydanticBaseSettingsSource):
    """The stores as a source of settings."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base's
        """Not asked: all values are read at once."""
        raise KeyError(field_name)

    def __call__(self) -> dict[str, Any]:
        names = frozenset(self.settings_cls.model_fields)
        values: dict[str, Any] = {}
        for store in stores(self._environment):
            values = {**store.read(names), **values}
        return values


class StoredSettings(BaseSettings):
    """Settings of which the secret ones may come from the stores."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What code says, then variables, then the stores of secrets."""
        return init_settings, env_settings, SecretsSource(settings_cls, os.environ)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsUnavailable(f"{file.name} cannot be read: {type(error).__name__}") from None

"""Certificates and access tokens for tests, by the same authority code that the laptop uses."""

import base64
import shutil
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from laptop.pki import LocalPki, Workload
from services.common.revocations import PATH, Revocation, encode

TRUST_DOMAIN = "deskmesh.local"
ENVIRONMENT = "dev"
ISSUER = "https://deskmesh.local"
AUDIENCE = "deskmesh"
WORKLOADS = (
    "edge",
    "auth",
    "sessions",
    "tickets",
    "knowledge",
    "orchestrator",
    "usage",
    "models",
    "gateway",
    "inference",
    "laptop",
)


class TestPki:
    """An authority in `folder`, with a certificate for every workload; `authority_of` is a folder to share one with."""

    __test__ = False

    def __init__(self, folder: Path, *, environment: str = ENVIRONMENT, authority_of: Path | None = None) -> None:
        self._folder = folder
        if authority_of is not None:
            folder.mkdir(exist_ok=True)
            for name in ("ca.crt", "ca.key"):
                shutil.copy(authority_of / name, folder / name)
        self._pki = LocalPki(folder, trust_domain=TRUST_DOMAIN, environment=environment, lifetime=timedelta(hours=1))
        self.issue(*WORKLOADS)

    def issue(self, *workloads: str) -> None:
        """Make a certificate for each workload that has none."""
        self._pki.ensure([Workload(name) for name in workloads])

    def issue_host(self, name: str, *dns_names: str) -> None:
        """Make a certificate that browsers and the like know by these names."""
        self._pki.ensure([Workload(name, dns_names=dns_names)])

    def rotate(self, workload: str) -> None:
        """Replace the certificate of a workload, as the laptop's supervisor does."""
        (self._folder / workload / "tls.crt").unlink()
        self.issue(workload)

    def files(self, workload: str) -> dict[str, Path]:
        """The settings that name a workload's files."""
        folder = self._folder / workload
        return {
            "tls_cert_file": folder / "tls.crt",
            "tls_key_file": folder / "tls.key",
            "tls_ca_file": folder / "ca.crt",
        }


@dataclass
class TokenIssuer:
    """Signs access tokens as the auth service does, and serves its keys on a Unix socket."""

    key_id: str = "test-key"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    fetches: int = 0
    revoked: list[Revocation] = field(default_factory=list)

    def token(
        self,
        *,
        organization_id: str,
        user_id: str,
        roles: tuple[str, ...],
        key: Ed25519PrivateKey | None = None,
        headers: dict[str, str] | None = None,
        **changes: object,
    ) -> str:
        """A token of five minutes; `changes` replace claims, and `key` and `headers` what proves them."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "org": organization_id,
            "roles": list(roles),
            "jti": uuid.uuid4().hex,
            # With its fraction, as auth issues them.
            "iat": time.time(),
            "auth_time": now,
            "amr": ["pwd"],
            "exp": now + 300,
        } | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key or self.key, algorithm="EdDSA", headers={"kid": self.key_id} | (headers or {}))

    def jwks(self) -> dict[str, object]:
        """The public key as a JWK set."""
        raw = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.key_id, "x": x}]}

    async def serve(self, socket: Path) -> web.AppRunner:
        """Answer for keys and revocations on the socket until the runner is cleaned up."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            self.fetches += 1
            return web.json_response(self.jwks())

        async def revocations(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=encode(self.revoked, now=time.time()), content_type="application/json")

        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", answer)
        app.router.add_get(PATH, revocations)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        return runner

"""Speaks OpenID Connect with providers of others, by Authlib's rules (OpenID Connect Core and Discovery, RFC 9207)."""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from services.auth.adapters import logout_tokens
from services.auth.adapters.outside import NotReached, Outside
from services.auth.domain import normalize_email
from services.auth.groups import GroupsUnreadable, groups_in
from services.auth.identity_providers import GROUPS, Assertion, Handshake, IdentityProvider, SignedOut
from services.auth.provider_errors import (
    IdentityNotAllowed,
    IdentityProviderInvalid,
    IdentityProviderUnavailable,
    ProviderSignInInvalid,
    ProviderSignInRefused,
)

logger = logging.getLogger(__name__)

SCOPES = "openid email profile"
# Keys that anybody can check with; a secret that both know proves less.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
KEY_TYPES = ("RSA", "EC", "OKP")
KEPT_SECONDS = 3600.0
# A key that is not known makes the keys be fetched anew, so often at most.
KEYS_AGAIN_SECONDS = 60.0
MOST_KEPT = 256
LEEWAY_SECONDS = 60
MOST_SUBJECT = 255
MOST_NAME = 100
MOST_EMAIL = 254
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

Document = dict[str, Any]


@dataclass(slots=True)
class _Known:
    """What a provider says of itself, and its keys, with when they were fetched."""

    metadata: Document
    at: float
    keys: KeySet | None = None
    keys_at: float = 0.0


class OpenIdProviders:
    """See `provider_ports.ExternalProviders`."""

    def __init__(self, outside: Outside, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._outside = outside
        self._monotonic = monotonic
        self._known: dict[tuple[str, tuple[str, ...]], _Known] = {}

    async def check(self, provider: IdentityProvider) -> None:
        self._known.pop(_key(provider), None)
        known = await self._ask(provider)
        await self._keys(provider, known, again=True)

    async def authorization_url(self, provider: IdentityProvider, redirect_uri: str, handshake: Handshake) -> str:
        known = await self._ask(provider)
        url: str = prepare_grant_uri(
            known.metadata["authorization_endpoint"],
            provider.client_id,
            "code",
            redirect_uri,
            _scopes(provider, known.metadata),
            handshake.state,
            nonce=handshake.nonce,
            code_challenge=create_s256_code_challenge(handshake.code_verifier),  # type: ignore[no-untyped-call]
            code_challenge_method="S256",
        )
        return url

    async def assertion(
        self,
        provider: IdentityProvider,
        secret: str,
        redirect_uri: str,
        handshake: Handshake,
        answer: Mapping[str, str],
    ) -> Assertion:
        known = await self._ask(provider)
        _check_answer(answer, handshake, known.metadata, provider.issuer)
        tokens = await self._redeem(provider, known.metadata, secret, redirect_uri, handshake, answer["code"])
        claims = await self._claims(provider, known, tokens, handshake)
        claim, who = provider.groups_claim, bool(claims.get("email"))
        # Of two answers about groups the ID token's is the signed one.
        told = not claim or claim in claims
        if not (who and told):
            said = await self._userinfo(provider, known.metadata, tokens, claims["sub"])
            claims |= {name: said[name] for name in said if (not told if name == claim else not who)}
        return _assertion(claims, provider)

    def issuer_of(self, token: str) -> str:
        return logout_tokens.issuer_of(token)

    async def signed_out(self, provider: IdentityProvider, token: str) -> SignedOut:
        known = await self._ask(provider)
        registry = _registry(known)
        try:
            try:
                said = jwt.decode(token, await self._keys(provider, known), registry=registry)
            except InvalidKeyIdError:
                said = jwt.decode(token, await self._keys(provider, known, again=True), registry=registry)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise ProviderSignInInvalid from None
        return logout_tokens.signed_out(provider, said.header, said.claims)

    async def _ask(self, provider: IdentityProvider) -> _Known:
        known = self._known.get(_key(provider))
        if known is None or self._monotonic() - known.at > KEPT_SECONDS:
            known = _Known(await self._discover(provider), self._monotonic())
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[_key(provider)] = known
        return known

    async def _discover(self, provider: IdentityProvider) -> Document:
        url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await self._get(provider, url)
        metadata = OpenIDProviderMetadata(document)
        try:
            metadata.validate_issuer()
            metadata.validate_authorization_endpoint()
            metadata.validate_token_endpoint()
            metadata.validate_jwks_uri()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError) as error:
            raise IdentityProviderInvalid(violations=[("issuer", str(error))]) from None
        if document["issuer"] != provider.issuer:
            # It would be believed for whatever another provider said (OpenID Connect Discovery 1.0, 4.3).
            raise IdentityProviderInvalid(violations=[("issuer", "is not what the provider calls itself")])
        if "code" not in document.get("response_types_supported", ()):
            raise IdentityProviderInvalid(violations=[("issuer", "does not offer authorization codes")])
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            endpoint = document.get(name)
            if endpoint is None and name == "userinfo_endpoint":
                continue
            if not isinstance(endpoint, str) or not provider.may_ask(endpoint):
                raise IdentityProviderInvalid(violations=[("hosts", f"{name} stands at a host that was not named")])
        return document

    async def _keys(self, provider: IdentityProvider, known: _Known, *, again: bool = False) -> KeySet:
        age = self._monotonic() - known.keys_at
        if known.keys is None or age > KEPT_SECONDS or (again and age > KEYS_AGAIN_SECONDS):
            document = await self._get(provider, known.metadata["jwks_uri"])
            try:
                usable = [key for key in document["keys"] if key.get("kty") in KEY_TYPES and key.get("use") != "enc"]
                known.keys = KeySet.import_key_set({"keys": usable})
            except (KeyError, TypeError, AttributeError, ValueError, JoseError):
                raise IdentityProviderInvalid(violations=[("issuer", "publishes no keys that can be used")]) from None
            known.keys_at = self._monotonic()
        return known.keys

    async def _redeem(
        self,
        provider: IdentityProvider,
        metadata: Document,
        secret: str,
        redirect_uri: str,
        handshake: Handshake,
        code: str,
    ) -> Document:
        body = prepare_token_request(
            "authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=handshake.code_verifier
        )
        ways = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        way = "client_secret_basic" if "client_secret_basic" in ways else "client_secret_post"
        if not secret:
            # A public client names itself; PKCE binds the code to it.
            way, body = "none", f"{body}&{urlencode({'client_id': provider.client_id})}"
        auth = ClientAuth(provider.client_id, secret, way)
        url, headers, body = auth.prepare(  # type: ignore[no-untyped-call]
            "POST", metadata["token_endpoint"], dict(FORM), body
        )
        try:
            status, tokens = await self._outside.post(url, headers, body)
        except NotReached as error:
            raise _unavailable(provider, error) from None
        if status >= 500:
            raise _unavailable(provider, NotReached(f"the token endpoint answers {status}"))
        if status != 200 or not isinstance(tokens.get("id_token"), str):
            logger.warning(
                "a provider refused a code", extra={"issuer": provider.issuer, "error": str(tokens.get("error"))[:64]}
            )
            raise ProviderSignInInvalid
        return tokens

    async def _claims(
        self, provider: IdentityProvider, known: _Known, tokens: Document, handshake: Handshake
    ) -> Document:
        """What the ID token says, once everything about it holds. Raises ProviderSignInInvalid."""
        registry = _registry(known)
        try:
            try:
                token = jwt.decode(tokens["id_token"], await self._keys(provider, known), registry=registry)
            except InvalidKeyIdError:
                token = jwt.decode(tokens["id_token"], await self._keys(provider, known, again=True), registry=registry)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": provider.issuer},
                    "aud": {"essential": True, "value": provider.client_id},
                },
                {
                    "nonce": handshake.nonce,
                    "client_id": provider.client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, UnicodeError) as error:
            logger.warning(
                "an ID token does not hold", extra={"issuer": provider.issuer, "error": type(error).__name__}
            )
            raise ProviderSignInInvalid from None
        return dict(claims)

    async def _userinfo(
        self, provider: IdentityProvider, metadata: Document, tokens: Document, subject: str
    ) -> Document:
        endpoint, token = metadata.get("userinfo_endpoint"), tokens.get("access_token")
        if not endpoint or not isinstance(token, str):
            return {}
        said = await self._get(provider, endpoint, {"Authorization": f"Bearer {token}"})
        if said.get("sub") != subject:
            # Tokens may have been mixed up on the way (OpenID Connect Core 1.0, 5.3.2).
            raise ProviderSignInInvalid
        return said

    async def _get(self, provider: IdentityProvider, url: str, headers: Mapping[str, str] | None = None) -> Document:
        try:
            return await self._outside.get(url, headers)
        except NotReached as error:
            raise _unavailable(provider, error) from None


def _key(provider: IdentityProvider) -> tuple[str, tuple[str, ...]]:
    return provider.issuer, provider.hosts


def _scopes(provider: IdentityProvider, metadata: Document) -> str:
    """What to ask for: also a scope that is called like the claim of groups, which many want to be asked for."""
    offered = metadata.get("scopes_supported")
    claim = provider.groups_claim
    return f"{SCOPES} {claim}" if claim and isinstance(offered, list) and claim in offered else SCOPES


def _registry(known: _Known) -> JWSRegistry:
    """What the provider may sign with."""
    offered = known.metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    return JWSRegistry(algorithms=[one for one in ALGORITHMS if one in offered], strict_check_header=False)


def _check_answer(answer: Mapping[str, str], handshake: Handshake, metadata: Document, issuer: str) -> None:
    """Raises ProviderSignInInvalid for an answer to another question, and ProviderSignInRefused for a no."""
    if not hmac.compare_digest(answer.get("state", "").encode(), handshake.state.encode()):
        raise ProviderSignInInvalid
    # Which provider answered, when it says so as it must (RFC 9207, 2.4).
    said = answer.get("iss", "")
    wanted = metadata.get("authorization_response_iss_parameter_supported") is True
    if (said or wanted) and said != issuer:
        raise ProviderSignInInvalid
    if answer.get("error"):
        raise ProviderSignInRefused
    if not answer.get("code"):
        raise ProviderSignInInvalid


def _assertion(claims: Document, provider: IdentityProvider) -> Assertion:
    subject, email, name = claims.get("sub"), claims.get("email", ""), claims.get("name")
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT or not isinstance(email, str):
        raise ProviderSignInInvalid
    known = normalize_email(email) if len(email) <= MOST_EMAIL and email.count("@") == 1 else ""
    tidy = " ".join(name.split())[:MOST_NAME] if isinstance(name, str) else ""
    groups: frozenset[str] = frozenset()
    if provider.group_roles:
        try:
            groups = groups_in(claims, provider.groups_claim)
        except GroupsUnreadable:
            # To let in with no groups, or with some of them, would be to guess.
            raise IdentityNotAllowed(metadata={"because": GROUPS}) from None
    verified = claims.get("email_verified") is True
    return Assertion(subject, known, verified, tidy or known.partition("@")[0], groups)


def _unavailable(provider: IdentityProvider, error: NotReached) -> IdentityProviderUnavailable:
    logger.warning("a provider cannot be used", extra={"issuer": provider.issuer, "error": str(error)})
    return IdentityProviderUnavailable(retry_after_seconds=5.0)

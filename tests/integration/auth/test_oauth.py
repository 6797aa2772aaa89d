"""The OAuth provider over HTTP on real stores, used by Authlib's client, which nobody here wrote."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx2 as httpx
import jwt
import pytest
from authlib.integrations.httpx_client import OAuthError
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata

from deskmesh.auth.v1 import account_service_pb2, auth_service_pb2, consent_service_pb2
from deskmesh.auth.v1.audit_event_pb2 import AUDIT_EVENT_TYPE_CONSENT_GRANTED, AUDIT_EVENT_TYPE_SIGN_IN
from deskmesh.auth.v1.audit_service_pb2 import ListAuditEventsRequest
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from services.auth.oauth import CLI
from services.common.ids import new_id
from services.common.revocations import fetcher
from services.common.tokens import jwks_fetcher
from tests.integration.auth.people import Person
from tests.integration.auth.programs import BACK, ISSUER, SECRET, VERIFIER, Provider
from tests.support.server import refused


async def keys(provider: Provider) -> jwt.PyJWKSet:
    return jwt.PyJWKSet.from_dict((await provider.http.get("/.well-known/jwks.json")).json())


async def decoded(provider: Provider, token: str, *, issuer: str, audience: str) -> dict[str, Any]:
    found = await keys(provider)
    key = found[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], issuer=issuer, audience=audience)
    return claims


async def test_what_it_says_of_itself_holds_by_authlibs_rules(provider: Provider) -> None:
    for path in ("openid-configuration", "oauth-authorization-server"):
        said = (await provider.http.get(f"/.well-known/{path}")).json()
        metadata = OpenIDProviderMetadata(said)
        # OpenID Connect wants RS256 of everybody; our keys are all of one kind.
        said["id_token_signing_alg_values_supported"].append("RS256")
        metadata.validate()
        assert metadata["issuer"] == ISSUER
        assert metadata["token_endpoint"] == f"{ISSUER}/oauth/token"


async def test_a_mesh_s_proxy_finds_the_same_on_loopback_and_a_control_plane_the_keys_alone(provider: Provider) -> None:
    configuration, jwks = "/.well-known/openid-configuration", "/.well-known/jwks.json"
    asked = {"client_id": CLI, "scope": "deskmesh"}
    async with httpx.AsyncClient() as http:
        oauth, public = f"http://{provider.oauth_address}", f"http://{provider.keys_address}"
        assert (await http.get(oauth + configuration)).json() == (await provider.http.get(configuration)).json()
        assert (await http.post(f"{oauth}/oauth/device_authorization", data=asked)).json()["user_code"]
        assert (await http.get(public + jwks)).json() == (await provider.http.get(jwks)).json()
        for path in (configuration, "/oauth/token", "/metrics", "/readyz"):
            assert (await http.get(public + path)).status_code == 404
    # What every service asks at its start and since, by the address as by the socket.
    assert await jwks_fetcher(provider.keys_address)()
    _, now = await fetcher(provider.keys_address)(0.0)
    assert now > 0


async def test_a_program_with_a_secret_learns_who_signed_in(provider: Provider) -> None:
    person = await provider.auth.founder()
    async with provider.program("shop", client_secret=SECRET, redirect_uri=BACK, scope="openid email") as program:
        token = await provider.let_in(person, program)
        said = await decoded(provider, token["id_token"], issuer=ISSUER, audience="shop")
        claims = CodeIDToken(
            said,
            {"alg": "EdDSA"},
            params={"nonce": "n-1", "client_id": "shop", "access_token": token["access_token"]},
        )
        claims.validate()
        assert (said["sub"], said["email"], said["email_verified"]) == (person.user_id, person.email, False)
        assert "name" not in said
        info = await program.get("http://auth/oauth/userinfo")
        assert info.json() == {"sub": person.user_id, "email": person.email, "email_verified": False}
        # Its token opens nothing else.
        async with refused() as refusal:
            headers = (("authorization", f"Bearer {token['access_token']}"),)
            await provider.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=headers)
        assert refusal.error.reason == "TOKEN_INVALID"
        # Nor does an ID token open anything at all.
        bearer = {"Authorization": f"Bearer {token['id_token']}"}
        assert (await provider.http.get("/oauth/userinfo", headers=bearer)).status_code == 401
        renewed = await program.refresh_token("http://auth/oauth/token")
        assert renewed["refresh_token"] != token["refresh_token"]
    audit = AuditServiceStub(provider.auth.service.channel("edge"))
    listed = await audit.ListAuditEvents(
        ListAuditEventsRequest(types=[AUDIT_EVENT_TYPE_CONSENT_GRANTED]), metadata=person.headers
    )
    assert [(event.actor_id, event.details["client_id"]) for event in listed.events] == [(person.user_id, "shop")]


async def test_the_command_line_acts_for_who_let_it_in_until_that_is_taken_back(provider: Provider) -> None:
    person = await provider.auth.founder()
    scope = "openid profile deskmesh"
    async with provider.program(
        CLI, redirect_uri="http://127.0.0.1:1/callback", scope=scope, token_endpoint_auth_method="none"
    ) as program:
        token = await provider.let_in(person, program)
        headers = (("authorization", f"Bearer {token['access_token']}"),)
        me = await provider.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=headers)
        assert me.principal.user.id == person.user_id
        # A program that was let in lets in nobody else.
        helped = Person(**{**vars(person), "access_token": token["access_token"]})
        url, _ = program.create_authorization_url("http://auth/oauth/authorize", code_verifier=VERIFIER)
        page = (await provider.http.get(url)).headers["location"]
        async with refused() as refusal:
            await provider.approve(helped, page)
        assert refusal.error.code is grpc.StatusCode.PERMISSION_DENIED
        # Our own client renews it as any sign-in, and it stays the program's.
        request = auth_service_pb2.RefreshTokenRequest(refresh_token=token["refresh_token"])
        pair = (await provider.auth.auth.RefreshToken(request)).tokens
        assert jwt.decode(pair.access_token, options={"verify_signature": False})["client_id"] == CLI
        asked = {"token": pair.access_token}
        said = (await provider.http.post("/oauth/introspect", data=asked, auth=("watcher", SECRET))).json()
        assert (said["active"], said["sub"], said["scope"], said["client_id"]) == (True, person.user_id, scope, CLI)
        other = await provider.http.post("/oauth/introspect", data=asked, auth=("shop", SECRET))
        assert other.json() == {"active": False}
        ended: Any = await program.revoke_token("http://auth/oauth/revoke", token=pair.refresh_token)  # type: ignore[no-untyped-call]
        assert ended.status_code == 200
        assert (await provider.http.post("/oauth/introspect", data=asked, auth=("watcher", SECRET))).json() == {
            "active": False
        }
    async with refused() as refusal:
        await provider.auth.auth.RefreshToken(auth_service_pb2.RefreshTokenRequest(refresh_token=pair.refresh_token))
    assert refusal.error.reason == "REFRESH_TOKEN_INVALID"


async def test_a_person_sees_the_programs_let_in_and_puts_one_out(provider: Provider) -> None:
    person, stranger = await provider.auth.founder(), await provider.auth.founder()
    async with provider.program("shop", client_secret=SECRET, redirect_uri=BACK, scope="openid email") as program:
        token = await provider.let_in(person, program)
        asked = consent_service_pb2.ListProgramsRequest()
        (listed,) = (await provider.consents.ListPrograms(asked, metadata=person.headers)).programs
        assert (listed.client_id, listed.client_name, listed.sign_ins) == ("shop", "The shop", 1)
        assert list(listed.scopes) == ["openid", "email"]
        assert not (await provider.consents.ListPrograms(asked, metadata=stranger.headers)).programs
        out = consent_service_pb2.RevokeProgramRequest(client_id="shop")
        assert (await provider.consents.RevokeProgram(out, metadata=stranger.headers)).ended_sign_ins == 0
        assert (await provider.consents.RevokeProgram(out, metadata=person.headers)).ended_sign_ins == 1
        assert (await provider.consents.RevokeProgram(out, metadata=person.headers)).ended_sign_ins == 0
        bearer = {"Authorization": f"Bearer {token['access_token']}"}
        assert (await provider.http.get("/oauth/userinfo", headers=bearer)).status_code == 401
        with pytest.raises(OAuthError) as caught:
            await program.refresh_token("http://auth/oauth/token")
        assert caught.value.error == "invalid_grant"
        assert not (await provider.consents.ListPrograms(asked, metadata=person.headers)).programs


async def test_requests_are_counted_by_endpoint_and_status_and_keep_their_trace(provider: Provider) -> None:
    trace_id = "5" * 32
    person = await provider.auth.founder()
    async with provider.program("shop", client_secret=SECRET, redirect_uri=BACK, scope="openid") as program:
        program.headers["traceparent"] = f"00-{trace_id}-{'6' * 16}-00"
        await provider.let_in(person, program)
    await provider.http.get("/oauth/made-up")
    ops = httpx.AsyncHTTPTransport(uds=str(provider.auth.service.settings.ops_socket))
    async with httpx.AsyncClient(transport=ops) as http:
        lines = (await http.get("http://auth/metrics")).text.splitlines()
    counted = dict(line.rsplit(" ", 1) for line in lines if line.startswith("deskmesh_oauth_"))
    assert float(counted['deskmesh_oauth_requests_total{endpoint="/oauth/token",status="200"}']) >= 1
    assert float(counted['deskmesh_oauth_requests_total{endpoint="unknown",status="404"}']) >= 1
    assert float(counted['deskmesh_oauth_seconds_count{endpoint="/oauth/authorize"}']) >= 1
    audit = AuditServiceStub(provider.auth.service.channel("edge"))
    listed = await audit.ListAuditEvents(
        ListAuditEventsRequest(types=[AUDIT_EVENT_TYPE_SIGN_IN]), metadata=person.headers
    )
    assert [event.trace_id for event in listed.events] == [trace_id]


async def test_of_many_who_redeem_one_code_one_gets_tokens_and_then_nobody_keeps_them(provider: Provider) -> None:
    person = await provider.auth.founder()
    scope = "openid deskmesh"
    async with provider.program(
        CLI, redirect_uri="http://127.0.0.1:1/callback", scope=scope, token_endpoint_auth_method="none"
    ) as program:
        url, _ = program.create_authorization_url("http://auth/oauth/authorize", code_verifier=VERIFIER)
        back = await provider.approve(person, (await provider.http.get(url)).headers["location"])
        form = {
            "grant_type": "authorization_code",
            "client_id": CLI,
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": "http://127.0.0.1:1/callback",
            "code_verifier": VERIFIER,
        }
        answers = await asyncio.gather(*(provider.http.post("/oauth/token", data=form) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    (won,) = (answer.json() for answer in answers if answer.status_code == 200)
    headers = {"Authorization": f"Bearer {won['access_token']}"}
    assert (await provider.http.get("/oauth/userinfo", headers=headers)).status_code == 401


async def test_a_device_is_let_in_by_the_code_it_shows(provider: Provider) -> None:
    person = await provider.auth.founder()
    async with provider.program(CLI, token_endpoint_auth_method="none") as program:
        asked = {"client_id": CLI, "scope": "deskmesh"}
        codes = (await provider.http.post("/oauth/device_authorization", data=asked)).json()
        assert codes["verification_uri"] == f"{ISSUER}/device"
        assert (codes["expires_in"], codes["interval"]) == (600, 5)

        async def poll() -> dict[str, Any]:
            token: dict[str, Any] = await program.fetch_token(
                grant_type=DEVICE_CODE_GRANT_TYPE, device_code=codes["device_code"]
            )
            return token

        for error in ("authorization_pending", "slow_down"):
            with pytest.raises(OAuthError) as caught:
                await poll()
            assert caught.value.error == error
        await provider.approve_device(person, codes["user_code"])
        token = await poll()
    assert "id_token" not in token
    headers = (("authorization", f"Bearer {token['access_token']}"),)
    answer = await provider.auth.accounts.GetAccount(account_service_pb2.GetAccountRequest(), metadata=headers)
    assert not answer.totp_enabled


@pytest.mark.parametrize(
    ("header", "signed"),
    [({"alg": "none"}, False), ({"alg": "HS256"}, True), ({"alg": "EdDSA", "kid": "made-up"}, False)],
    ids=["none", "the public key as a secret", "another key"],
)
async def test_a_token_cannot_choose_how_it_is_checked(
    provider: Provider, header: dict[str, str], signed: bool
) -> None:
    person = await provider.auth.founder()
    real = jwt.get_unverified_header(person.access_token)
    claims = jwt.decode(person.access_token, options={"verify_signature": False})
    header = {"kid": real["kid"]} | header
    body = jwt.encode(claims, "x" * 64, algorithm="HS512").split(".")[1]
    head = jwt.utils.base64url_encode(json.dumps({"typ": "JWT"} | header).encode()).decode()
    signature = ""
    if signed:
        entry = (await provider.http.get("/.well-known/jwks.json")).json()["keys"][0]
        secret = jwt.utils.base64url_decode(entry["x"])
        digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
            f"{head}.{body}".encode(), secret
        )
        signature = jwt.utils.base64url_encode(digest).decode()
    told = await provider.http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {head}.{body}.{signature}"})
    assert (told.status_code, told.json()["error"]) == (401, "invalid_token")


async def test_what_makes_no_sense_is_refused_in_oauths_words(provider: Provider) -> None:
    http = provider.http
    nowhere = await http.get("/oauth/authorize", params={"client_id": CLI, "redirect_uri": "https://evil.example"})
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    told = await http.get(
        "/oauth/authorize",
        params={"client_id": "shop", "redirect_uri": BACK, "response_type": "code", "scope": "openid", "state": "s"},
    )
    query = parse_qs(urlsplit(told.headers["location"]).query)
    assert (told.status_code, query["error"], query["state"], query["iss"]) == (
        303,
        ["invalid_request"],
        ["s"],
        [ISSUER],
    )
    for answer, status, error in (
        (await http.post("/oauth/token", json={}), 400, "invalid_request"),
        (
            await http.post("/oauth/token", data={"grant_type": "password", "client_id": CLI}),
            400,
            "unsupported_grant_type",
        ),
        (await http.post("/oauth/token", content="a=1&a=2", headers=FORM), 400, "invalid_request"),
        (await http.post("/oauth/token", content=b"a=" + b"x" * 20_000, headers=FORM), 413, "invalid_request"),
        (await http.post("/oauth/introspect", data={"token": "x"}, auth=("shop", "wrong")), 401, "invalid_client"),
        (await http.get("/oauth/token"), 405, "invalid_request"),
        (await http.get("/oauth/elsewhere"), 404, "invalid_request"),
        (await http.get("/oauth/userinfo"), 401, "invalid_token"),
        (await http.get("/oauth/userinfo", headers={b"Authorization": b"Bearer \xe4"}), 401, "invalid_token"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert answer.headers["cache-control"] == "no-store"


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_one_place_cannot_begin_devices_without_end(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.usecases.provider.DEVICES_PER_HOUR", 2)
    headers = {"X-Forwarded-For": f"made-up, {new_id('place')}"}
    asked = {"client_id": CLI, "scope": "deskmesh"}
    answers = [await provider.http.post("/oauth/device_authorization", data=asked, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600


async def test_user_codes_cannot_be_tried_out(provider: Provider) -> None:
    person = await provider.auth.founder()
    reasons = []
    for _ in range(21):
        async with refused() as refusal:
            await provider.approve_device(person, "BBBB-BBBB")
        reasons.append(refusal.error.reason)
    assert reasons == ["USER_CODE_INVALID"] * 20 + ["RATE_LIMITED"]

"""The REST API: the same RPCs, policies and errors by JSON, and no way around them."""

import gzip
from typing import Any

import pytest
import redis.asyncio

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from services.common.buckets import Bucket, Rate, ValkeyBuckets, Wanted
from services.common.ids import new_id
from tests.integration.gateway.conftest import PASSWORD, Door
from tests.integration.gateway.rest import Rest

ME = "/api/v1/me"
SIGN_IN = "/api/v1/auth:signIn"
MEGABYTE = 1024 * 1024


async def test_reads_by_path_and_query(rest: Rest) -> None:
    me = await rest.call("GET", ME)
    assert me.status == 200
    user = me.json["principal"]["user"]
    for spelling in ("page_size", "pageSize"):
        members = await rest.call("GET", f"/api/v1/members?{spelling}=1")
        assert [member["user"]["id"] for member in members.json["members"]] == [user["id"]]


async def test_what_is_empty_is_said_too(rest: Rest) -> None:
    mine = await rest.call("GET", "/api/v1/organizations")
    assert [one["custom_role_ids"] for one in mine.json["organizations"]] == [[]]


async def test_keys_get_in_with_what_they_may_do(rest: Rest, door: Door) -> None:
    made = await door.owner.api_keys.CreateApiKey(keys.CreateApiKeyRequest(name="REST", scopes=["members.read"]))
    as_key: dict[str, Any] = {"token": "", "headers": {"x-api-key": made.secret}}
    assert (await rest.call("GET", "/api/v1/members", **as_key)).status == 200
    assert (await rest.call("GET", "/api/v1/api-keys", **as_key)).refusal == (403, "PERMISSION_MISSING")
    wrong: dict[str, Any] = {"token": "", "headers": {"x-api-key": "dm_live_wrong"}}
    assert (await rest.call("GET", "/api/v1/members", **wrong)).refusal == (401, "API_KEY_INVALID")


async def test_errors_of_a_service_come_with_their_details(rest: Rest) -> None:
    invalid = await rest.call("POST", SIGN_IN, json={"email": "", "password": "x"})
    assert invalid.refusal == (400, "INVALID_FIELD")
    assert invalid.json["details"][1]["field_violations"][0]["field"] == "email"
    assert invalid.json["code"] == 3
    wrong = await rest.call("POST", SIGN_IN, json={"email": "nobody@example.com", "password": PASSWORD})
    assert wrong.refusal == (401, "CREDENTIALS_INVALID")


@pytest.mark.parametrize(
    ("token", "reason"), [("", "TOKEN_MISSING"), ("x.y.z", "TOKEN_INVALID")], ids=["none", "nonsense"]
)
async def test_the_token_is_checked_as_for_grpc(rest: Rest, token: str, reason: str) -> None:
    refused = await rest.call("GET", ME, token=token)
    assert refused.refusal == (401, reason)
    assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"email": ', "Expected a value"),
        (b'{"email": {"a": 1}}', "scalar field"),
        (b'{"email":' + b"[" * 200, "too deep"),
        (gzip.compress(b'{"email": "a"}'), "UTF-8"),
    ],
    ids=["cut off", "of another kind", "deep", "packed"],
)
async def test_what_is_no_such_json_is_refused_in_words(rest: Rest, body: bytes, says: str) -> None:
    refused = await rest.call("POST", SIGN_IN, data=body)
    assert refused.refusal == (400, "INVALID_FIELD")
    assert says in refused.json["message"]


async def test_a_giant_body_is_refused(rest: Rest) -> None:
    body = b'{"email": "' + b"x" * 5 * MEGABYTE + b'"}'
    assert (await rest.call("POST", SIGN_IN, data=body)).refusal == (400, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("query", ["no_such_field=1", "page_size=many", "page_size.x=1"])
async def test_a_query_must_be_of_the_request(rest: Rest, query: str) -> None:
    assert (await rest.call("GET", f"/api/v1/members?{query}")).refusal == (400, "INVALID_FIELD")


@pytest.mark.parametrize(
    ("verb", "path", "status", "reason"),
    [
        ("GET", "/api/v1/nothing", 404, "METHOD_UNKNOWN"),
        ("PUT", ME, 404, "METHOD_UNKNOWN"),
        ("GET", "/api/v2/me", 404, "METHOD_UNKNOWN"),
        ("GET", "/api/v1/me%2f", 400, "INVALID_FIELD"),
        ("GET", "/api/v1%2fme", 400, "INVALID_FIELD"),
        ("GET", "/api/v1/x/..%5cme", 400, "INVALID_FIELD"),
        ("POST", "/api/v1/api-keys:exchange", 404, "METHOD_UNKNOWN"),
    ],
)
async def test_other_paths_lead_nowhere(rest: Rest, verb: str, path: str, status: int, reason: str) -> None:
    assert (await rest.call(verb, path)).refusal == (status, reason)


@pytest.mark.parametrize(
    "path", ["/api/v1//me", "//api/v1/me", "/api/v1/x/../me", "/docs/../api/v1/me", "/%61pi/v1/me"]
)
async def test_another_spelling_of_a_path_meets_the_same_check(rest: Rest, path: str) -> None:
    assert (await rest.call("GET", path, token="")).refusal == (401, "TOKEN_MISSING")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-http-method-override": "POST"},
        {"x-envoy-original-path": "/", "x-envoy-original-method": "POST"},
        {"x-original-url": "/", "x-rewrite-url": "/api/v1/auth:signIn"},
        {"x-envoy-auth-headers-to-remove": "authorization"},
        {"deskmesh-acting-organization": "org_a", "deskmesh-acting-user": "usr_a", "deskmesh-acting-roles": "owner"},
        {"x-forwarded-client-cert": "URI=spiffe://deskmesh.local/ns/dev/sa/laptop"},
    ],
    ids=min,
)
async def test_headers_open_nothing(rest: Rest, headers: dict[str, str]) -> None:
    assert (await rest.call("GET", ME, token="", headers=headers)).refusal == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc-web+proto", "application/grpc+json"])
async def test_who_says_it_is_grpc_is_not_transcoded(rest: Rest, content_type: str) -> None:
    reply = await rest.call("GET", ME, headers={"content-type": content_type})
    assert reply.json == ""
    assert reply.headers.get("grpc-status", "12") == "12"
    assert reply.status in (200, 404)


async def test_who_calls_too_often_is_told_when_to_come_again(rest: Rest, redis_url: str) -> None:
    body = {"email": f"{new_id('p')}@example.com", "password": PASSWORD, "display_name": "Ann"}
    founds = {"new_organization": {"slug": new_id("o").replace("_", "-"), "name": "Ann's"}}
    ann = (await rest.call("POST", "/api/v1/auth:signUp", json=body | founds)).json
    person, token = ann["principal"], ann["tokens"]["access_token"]
    assert (await rest.call("GET", ME, token=token)).status == 200
    # A minute's worth of all that she may read, by some other process.
    name = f"{{{person['organization']['id']}}}:READ:{person['user']['id']}"
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        await store.delete(f"people:paid:{name}")
        spent = await ValkeyBuckets(store, "people").lease([Wanted((Bucket(name, Rate(1, 1)),), 1)])
    assert spent[0].calls == 1
    refused = await rest.call("GET", ME, token=token)
    assert refused.refusal == (429, "RATE_LIMITED")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json["details"][1]["retry_delay"].endswith("s")
    # So is a page, which speaks grpc-web.
    web = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    path = "/deskmesh.auth.v1.AuthService/WhoAmI"
    refused = await rest.call("POST", path, token=token, headers=web, data=bytes(5))
    assert (refused.headers["grpc-status"], refused.status) == ("8", 200)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    # Nobody else is held up.
    assert (await rest.call("GET", ME)).status == 200


async def test_a_resource_has_one_name(rest: Rest) -> None:
    roles = {"roles": ["ROLE_AGENT"]}
    two_names = await rest.call("PUT", "/api/v1/members/usr_1/roles", json={**roles, "user_id": "usr_2"})
    assert two_names.refusal == (400, "INVALID_FIELD")


async def test_answers_tell_nothing_of_the_inside(rest: Rest) -> None:
    for reply in (await rest.call("GET", ME), await rest.call("GET", "/api/v1/nothing")):
        assert reply.headers["server"] == "deskmesh"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert not [name for name in reply.headers if name.startswith("x-envoy-")]

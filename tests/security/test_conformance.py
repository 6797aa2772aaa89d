"""One policy, three enforcers: every RPC, every kind of caller, and the same answer from Envoy, the service and Istio.

A cell is an RPC and a caller. What is to happen follows from the policy in the proto alone (`callers.refusals`): no
reason to refuse means the call is let in, else it is refused for one of the reasons.

- *Envoy* is the real binary on the configuration that the laptop renders, with the service behind it. People and
  programs outside come through the door. A workload comes to the models through the sidecar there; to anything else no
  Envoy stands between workloads on a laptop, so it comes to the door, where its certificate and the person it names
  must count for nothing.
- *The service* is its real interceptors behind mutual TLS, asked without any Envoy. Use cases are doubles, which say as
  whom the caller was known.
- *Istio* is the evaluator over the manifests as kustomize builds them. A mesh knows workloads and tokens; whether the
  person holds the permission is the service's to say. So its answer is compared with the reasons that a mesh can know.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from mesh.istio.plan import JWKS_PATH, KEYS_PORT, RPC_PORT
from mesh.policy.table import Rule
from services.common import revocations
from tests.security.callers import (
    OF_THE_MESH,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    Caller,
    at_the_door,
    from_inside,
    from_outside,
    known_as,
    refusals,
)
from tests.security.enforcers import INFERENCE, PLAN, Enforcers, Outcome, enforcers
from tests.security.istio import Answer
from tests.support.manifests import manifests
from tests.support.pki import TestPki
from tests.support.server import new_folder, remove_folder

AT_ONCE = 24


@pytest_asyncio.fixture(scope="module")
async def asked() -> AsyncIterator[Enforcers]:
    folder = new_folder()
    async with enforcers(folder) as made:
        yield made
    remove_folder(folder)


def callers(made: Enforcers) -> list[Caller]:
    return [*from_outside(made.tokens), *from_inside(PLAN.workloads)]


def disagreement(rule: Rule, caller: Caller, outcome: Outcome) -> str:
    """What is wrong with the outcome of a call, "" when it is as the proto says."""
    reasons = refusals(rule, caller)
    if outcome.reason:
        return (
            ""
            if outcome.reason in reasons
            else f"refused as {outcome.reason}, expected {set(reasons) or 'to be let in'}"
        )
    if reasons:
        return f"let in, expected {set(reasons)}"
    wanted = (caller.workload, "", "") if rule.callee == INFERENCE else known_as(rule, caller)
    return "" if outcome.known_as == wanted else f"known as {outcome.known_as}, expected {wanted}"


def disagreement_of_istio(rule: Rule, caller: Caller, answer: Answer) -> str:
    reasons = refusals(rule, caller) & OF_THE_MESH
    if caller.beyond_istio:
        reasons -= {caller.fault}
    statuses = {401 if reason in (TOKEN_EXPIRED, TOKEN_INVALID) else 403 for reason in reasons} or {200}
    return "" if answer.status in statuses else f"{answer.status} {answer.why}, expected {statuses}"


@pytest.mark.parametrize("callee", PLAN.callees)
async def test_all_three_agree_in_every_cell(asked: Enforcers, callee: str, capsys: pytest.CaptureFixture[str]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []

    async def check(rule: Rule, caller: Caller) -> None:
        twin = caller if callee == INFERENCE else at_the_door(caller)
        async with gate:
            through_envoy = await asked.envoy(rule.method, caller)
            straight = await asked.service(rule.method, caller)
        found = {
            "Envoy": disagreement(rule, twin, through_envoy),
            "service": disagreement(rule, caller, straight),
            "Istio": disagreement_of_istio(rule, caller, asked.istio(rule.method, caller)),
        }
        wrong.extend(f"{rule.method}, {caller.name}, {who}: {what}" for who, what in found.items() if what)

    cells = [(rule, caller) for rule in PLAN.of_callee(callee) for caller in callers(asked)]
    await asyncio.gather(*(check(rule, caller) for rule, caller in cells))
    assert not wrong, "\n".join(wrong[:40])
    size = f"{callee}: {len(PLAN.of_callee(callee))} RPCs x {len(callers(asked))} callers = {len(cells)} cells"
    with capsys.disabled():
        sys.stdout.write(f"\n{size}, {3 * len(cells)} answers agree\n")


def allow_everything(resources: list[dict[str, Any]]) -> None:
    resources.append(
        {
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "open", "namespace": "dev"},
            "spec": {"selector": {"matchLabels": {"app": "tickets"}}, "rules": [{}]},
        }
    )


def forget_the_tokens(resources: list[dict[str, Any]]) -> None:
    resources[:] = [one for one in resources if one["kind"] != "RequestAuthentication"]


def forget_a_policy(resources: list[dict[str, Any]]) -> None:
    named = ("AuthorizationPolicy", "tickets")
    resources[:] = [one for one in resources if (one["kind"], one["metadata"]["name"]) != named]


def let_anybody_come_without_a_token(resources: list[dict[str, Any]]) -> None:
    for one in resources:
        for rule in one.get("spec", {}).get("rules", []) if one["kind"] == "AuthorizationPolicy" else []:
            for source in rule.get("from", []):
                source["source"].pop("requestPrincipals", None)


@pytest.mark.parametrize(
    "sabotage", [allow_everything, forget_the_tokens, forget_a_policy, let_anybody_come_without_a_token]
)
def test_a_policy_that_is_wrong_is_noticed(asked: Enforcers, sabotage: Callable[[list[dict[str, Any]]], None]) -> None:
    resources = manifests("dev")
    sabotage(resources)
    wrong = asked.with_manifests(resources)
    assert any(
        disagreement_of_istio(rule, caller, wrong.istio(rule.method, caller))
        for rule in PLAN.of_callee("tickets")
        for caller in callers(asked)
    )


@pytest.fixture(scope="module")
def foreign(asked: Enforcers) -> Iterator[TestPki]:
    """Certificates with the right names, of an authority that is not ours."""
    folder = new_folder()
    yield TestPki(folder / "pki")
    remove_folder(folder)


@pytest.mark.parametrize("callee", [callee for callee in PLAN.callees if callee != INFERENCE])
async def test_nobody_without_a_certificate_of_ours_gets_a_connection(
    asked: Enforcers, foreign: TestPki, callee: str
) -> None:
    rule = PLAN.of_callee(callee)[0]
    port = asked.ports[callee]
    authority, _, _ = asked.ground.identity(callee)
    files = foreign.files(min(rule.callers))
    strangers = {
        "without a certificate": grpc.ssl_channel_credentials(authority),
        "of another authority": grpc.ssl_channel_credentials(
            authority, files["tls_key_file"].read_bytes(), files["tls_cert_file"].read_bytes()
        ),
    }
    options = [("grpc.ssl_target_name_override", callee), ("grpc.use_local_subchannel_pool", 1)]
    for who, credentials in strangers.items():
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            rpc: Any = channel.unary_unary(rule.method)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, who
    assert asked.istio_without_tls(callee, rule.method, RPC_PORT).status == 0


def test_of_all_ports_only_the_public_keys_are_served_without_a_certificate(asked: Enforcers) -> None:
    assert asked.istio_without_tls("auth", JWKS_PATH, KEYS_PORT, "GET").allowed
    assert asked.istio_without_tls("auth", "/metrics", KEYS_PORT, "GET").status == 403
    assert asked.istio_without_tls("auth", revocations.PATH, KEYS_PORT, "GET").status == 403
    assert asked.istio_without_tls("auth", PLAN.of_callee("auth")[0].method, KEYS_PORT).status == 403

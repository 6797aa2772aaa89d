"""A token for one service passes the door, in front of which nobody knows which service it will come to."""

from pathlib import Path
from typing import Any

from mesh.envoy.methods import load_methods
from mesh.envoy.render import audiences
from mesh.envoy.topology import Topology, Upstream
from mesh.istio import security
from mesh.istio.plan import EDGE, Plan
from mesh.policy.table import load_table
from services.auth.settings import EXCHANGEABLE

NARROW = {f"deskmesh/{service}" for service in EXCHANGEABLE}


def test_the_door_lets_tokens_for_one_service_pass_but_none_for_auth() -> None:
    topology = Topology(
        edge_port=1,
        inference_port=2,
        upstreams=tuple(Upstream(name, 3, (f"deskmesh.{name}.v1",)) for name in ("auth", *EXCHANGEABLE)),
        llm_applications=("llm",),
        trust_domain="deskmesh.local",
        environment="dev",
        token_issuer="https://deskmesh.local",
        token_audience="deskmesh",
        pki=Path("pki"),
        run=Path("run"),
        envoy=Path("envoy"),
    )
    outside = [method for method in load_methods() if method.from_outside]
    assert set(audiences(topology, outside)) == {"deskmesh"} | NARROW


def test_so_does_the_mesh() -> None:
    found = list(_values(security.of_workload(Plan.of(load_table()), EDGE), "audiences"))
    assert [set(one) - {"deskmesh/userinfo"} for one in found] == [{"deskmesh"} | NARROW]


def _values(document: Any, name: str) -> Any:
    """Every value of this name, wherever it stands."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            else:
                yield from _values(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from _values(value, name)

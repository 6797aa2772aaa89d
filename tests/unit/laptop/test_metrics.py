"""The metrics of several processes become one document that Prometheus can read."""

from prometheus_client.parser import text_string_to_metric_families

from laptop.metrics.exposition import merge

AUTH = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="A",text="a } b, \\"process=c"} 3.0
calls_total 1.0
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 2.0
seconds_count 2.0
seconds_sum 0.5
"""
ENVOY = """# TYPE calls_total counter
calls_total{method="A"} 7

# TYPE open gauge
open{} 1
untyped 4
"""
SUPERVISOR = """# HELP up Up.
# TYPE up gauge
up{process="auth"} 1.0
up{process="web"} 0.0
"""
DOCUMENTS = (("auth", AUTH), ("edge-envoy", ENVOY), ("supervisor", SUPERVISOR))


def samples(text: str) -> dict[tuple[str, str, str], float]:
    return {
        (sample.name, sample.labels["process"], sample.labels.get("method", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_sample_says_of_which_process_it_is() -> None:
    found = samples(merge(DOCUMENTS))
    assert found[("calls_total", "auth", "A")] == 3
    assert found[("calls_total", "auth", "")] == 1
    assert found[("calls_total", "edge-envoy", "A")] == 7
    assert found[("open", "edge-envoy", "")] == 1
    assert found[("untyped", "edge-envoy", "")] == 4
    assert found[("seconds_count", "auth", "")] == 2
    assert found[("up", "auth", "")] == 1


def test_a_family_stands_together_and_is_described_once() -> None:
    text = merge(DOCUMENTS)
    assert text.count("# TYPE calls_total counter") == 1
    assert text.count("# HELP calls_total Calls.") == 1
    lines = [line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")]
    assert lines[:3] == ["calls_total"] * 3


def test_one_process_alone_has_what_is_said_of_it_by_others() -> None:
    assert {(name, process) for name, process, _ in samples(merge(DOCUMENTS, only="auth"))} == {
        ("calls_total", "auth"), ("seconds_bucket", "auth"), ("seconds_count", "auth"), ("seconds_sum", "auth"),
        ("up", "auth"),
    }  # fmt: skip
    assert merge(DOCUMENTS, only="nobody") == ""

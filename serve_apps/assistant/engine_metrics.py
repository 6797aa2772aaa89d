"""The metrics that vLLM keeps of itself, beside those of the replica."""

from collections.abc import Iterable

from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

PREFIX = "vllm:"


class EngineMetrics(Collector):
    """What stands in the process's own registry under vLLM's names; nothing where no vLLM runs."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known only once the engine has started."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        return [family for family in REGISTRY.collect() if family.name.startswith(PREFIX)]

"""Each RPC of the contracts, with what its policy and shape mean for a proxy."""

from dataclasses import dataclass

from mesh.policy.table import RateClass, Rule, load_table

EDGE = "edge"


@dataclass(frozen=True, order=True)
class Method:
    """One RPC as a proxy sees it."""

    path: str
    package: str
    callers: tuple[str, ...]
    anonymous: bool
    repeatable: bool
    client_streaming: bool
    server_streaming: bool
    rate_class: RateClass = RateClass.READ

    @property
    def streaming(self) -> bool:
        return self.client_streaming or self.server_streaming

    @property
    def from_outside(self) -> bool:
        """Whether people and programs outside may call it."""
        return EDGE in self.callers


def load_methods() -> tuple[Method, ...]:
    """All RPCs of the generated stubs, by path. Raises MissingRule for one without a policy."""
    return tuple(sorted(_method(rule) for rule in load_table().values()))


def _method(rule: Rule) -> Method:
    return Method(
        path=rule.method,
        package=rule.package,
        callers=tuple(sorted(rule.callers)),
        anonymous=rule.anonymous,
        repeatable=rule.retryable,
        client_streaming=rule.client_streaming,
        server_streaming=rule.server_streaming,
        rate_class=rule.rate_class,
    )

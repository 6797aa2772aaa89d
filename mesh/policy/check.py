"""Fails the build on an RPC whose policy is missing or incomplete, or its path: `python -m mesh.policy.check`."""

import sys
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import ServiceDescriptor

from mesh.policy.table import Idempotency, MissingRule, RateClass, Rule, rule_of, services
from mesh.rest.paths import problems as problems_with_paths

WORKLOADS = frozenset(
    {
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
    }
)


def problems(rule: Rule) -> Iterator[str]:
    """What is wrong with one rule, a sentence each."""
    if not rule.callers:
        yield "names no callers"
    if unknown := sorted(rule.callers - WORKLOADS):
        yield f"names callers that are no workloads: {', '.join(unknown)}"
    if rule.idempotency is Idempotency.UNSPECIFIED:
        yield "leaves the idempotency unspecified"
    if rule.rate_class is RateClass.UNSPECIFIED:
        yield "leaves the rate class unspecified"
    if rule.idempotency is Idempotency.REQUEST_ID and not rule.has_request_id:
        yield "is idempotent by request_id, but its request has no such field"
    if rule.anonymous and rule.permission:
        yield "lets anonymous callers in and asks for a permission"
    if rule.anonymous and rule.step_up:
        yield "lets anonymous callers in and asks for a fresh proof of who they are"


def check(checked: Iterable[ServiceDescriptor]) -> tuple[int, list[str]]:
    """The number of RPCs seen, and a line for everything wrong with them."""
    count, found = 0, []
    for service in checked:
        for method in service.methods:
            count += 1
            try:
                rule = rule_of(method)
            except MissingRule as missing:
                found.append(str(missing))
                continue
            found += [f"{method.full_name} {problem}" for problem in problems(rule)]
    return count, found


def main() -> int:
    """Print what is wrong; 0 when nothing is and at least one RPC was seen."""
    count, found = check(services())
    found += problems_with_paths(services())
    for line in found:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{count} RPCs, {len(found)} problems with their policies and paths\n")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main())

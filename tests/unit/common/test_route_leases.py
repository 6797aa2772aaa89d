"""Routes that are used again."""

from dataclasses import dataclass

from services.common.inference import MOST_LEASES, RouteLeases


@dataclass(frozen=True)
class Route:
    """As much of a route as leases look at."""

    replica: str


def route(replica: str) -> Route:
    return Route(replica)


def test_a_lease_holds_for_its_conversation_until_it_ends() -> None:
    now = [100.0]
    leases: RouteLeases[Route] = RouteLeases(lambda: now[0])
    leases.keep("one", route("a:1"), 5.0)
    now[0] += 4.9
    assert leases.find("one") == route("a:1")
    assert leases.find("two") is None
    now[0] += 0.2
    assert leases.find("one") is None


def test_a_replica_that_fails_loses_all_its_leases() -> None:
    leases: RouteLeases[Route] = RouteLeases()
    for conversation, replica in (("one", "a:1"), ("two", "a:1"), ("three", "a:2")):
        leases.keep(conversation, route(replica), 5.0)
    leases.drop("a:1")
    assert [leases.find(name) for name in ("one", "two", "three")] == [None, None, route("a:2")]


def test_no_lease_without_time_or_conversation_and_not_more_than_are_kept() -> None:
    leases: RouteLeases[Route] = RouteLeases()
    leases.keep("one", route("a:1"), 0.0)
    leases.keep("", route("a:1"), 5.0)
    assert leases.find("one") is None
    assert leases.find("") is None
    for number in range(MOST_LEASES + 1):
        leases.keep(str(number), route("a:1"), 5.0)
    assert leases.find("0") is None
    assert leases.find(str(MOST_LEASES)) is not None

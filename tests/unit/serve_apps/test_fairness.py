"""Who takes more than a share."""

from serve_apps.assistant.fairness import HALF_LIFE_SECONDS, TenantShares


def test_the_only_tenant_is_never_heavy_and_of_several_the_one_that_takes_most_is() -> None:
    shares = TenantShares(lambda: 0.0)
    shares.note("loud", 1000)
    assert not shares.is_heavy("loud")
    shares.note("quiet", 100)
    assert shares.is_heavy("loud")
    assert not shares.is_heavy("quiet")
    assert not shares.is_heavy("new")
    shares.note("quiet", 800)
    assert not shares.is_heavy("loud")


def test_what_was_taken_is_forgotten() -> None:
    now = [0.0]
    shares = TenantShares(lambda: now[0])
    shares.note("loud", 1000)
    now[0] += 4 * HALF_LIFE_SECONDS
    shares.note("quiet", 60)
    assert not shares.is_heavy("loud")
    now[0] += 20 * HALF_LIFE_SECONDS
    assert not shares.is_heavy("quiet")
    assert shares._tokens == {}


def test_requests_of_nobody_count_for_nobody() -> None:
    shares = TenantShares(lambda: 0.0)
    shares.note("", 1000)
    shares.note("one", 10)
    assert not shares.is_heavy("")
    assert not shares.is_heavy("one")

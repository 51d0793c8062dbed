"""Who is found silent, and when."""

import pytest

from jesse_mcp.domain.leases import Gone, Leases
from jesse_mcp.services.lease_watch import LeaseWatch


class Site:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.dead: set[str] = set()
        self._watch = LeaseWatch("me", self.dead.__contains__, 30, lambda: self.now)

    def look(self, after: float, **leases: float) -> Gone:
        self.now += after
        shown: Leases = {owner: frozenset({lease}) for owner, lease in leases.items()}
        return self._watch.gone(shown)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_lease_that_stays_the_same_for_longer_than_allowed(site: Site) -> None:
    for after in (0, 10, 10, 10):
        assert site.look(after, other=5.0) == Gone()
    assert site.look(1, other=5.0) == Gone(silent={"other": frozenset({5.0})})
    assert site.look(1, other=5.5) == Gone(), "it was only slow"


@pytest.mark.parametrize("jump", [86_400.0, -3_600.0])
def test_a_lease_that_changes_belongs_to_somebody_alive_whatever_it_says(site: Site, jump: float) -> None:
    lease = 5.0
    for _ in range(10):
        assert site.look(20, other=lease) == Gone()
        lease += jump


def test_after_a_pause_all_is_watched_anew(site: Site) -> None:
    """The machine slept, or the records were away: nobody could renew."""
    site.look(0, other=5.0)
    assert site.look(3_600, other=5.0) == Gone()
    assert site.look(30, other=5.0) == Gone()
    assert site.look(1, other=5.0).silent.keys() == {"other"}


def test_whoever_is_known_to_be_dead_is_not_waited_for(site: Site) -> None:
    site.dead.add("other")
    assert site.look(0, other=5.0, third=6.0) == Gone(frozenset({"other"}))


def test_nobody_finds_itself_gone(site: Site) -> None:
    site.dead.add("me")
    for _ in range(5):
        assert site.look(20, me=5.0) == Gone()

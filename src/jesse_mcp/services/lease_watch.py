"""Tells which owners have fallen silent, whatever the clocks of the machines say."""

import time
from collections.abc import Callable

from jesse_mcp.domain.leases import Gone, Leases


class LeaseWatch:
    """Looks at the leases of others again and again. Blocks as ``owner_is_dead`` does; one thread at a time.

    A live owner renews its leases, so they change. Only that is looked at, and timed by a clock that nobody
    sets: neither a clock that jumps nor one that differs from another machine's makes an owner silent.

    Args:
        owner: whose watch this is; it never finds itself gone.
        owner_is_dead: whether another owner is known to be gone; false when that cannot be known.
        seconds: how long a lease may stay the same.
        now: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        owner: str,
        owner_is_dead: Callable[[str], bool],
        seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._owner_is_dead = owner_is_dead
        self._seconds = seconds
        self._now = now
        self._looked_at = 0.0
        self._seen: dict[str, tuple[frozenset[float], float]] = {}

    def gone(self, leases: Leases) -> Gone:
        """Who is gone, given the leases as they are now.

        After a pause of more than ``seconds``, in which nobody may have been able to renew, all is watched
        anew.
        """
        now = self._now()
        paused = now - self._looked_at > self._seconds
        self._looked_at = now
        seen, self._seen = ({} if paused else self._seen), {}
        dead: set[str] = set()
        silent: dict[str, frozenset[float]] = {}
        for owner, shown in leases.items():
            if owner == self._owner:
                continue
            if self._owner_is_dead(owner):
                dead.add(owner)
                continue
            before, since = seen.get(owner, (shown, now))
            self._seen[owner] = (shown, since if before == shown else now)
            if now - self._seen[owner][1] > self._seconds:
                silent[owner] = shown
        return Gone(frozenset(dead), silent)

"""Who still works on what was begun."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: By owner, the leases that its active records show.
Leases = Mapping[str, frozenset[float]]


@dataclass(frozen=True)
class Gone:
    """Owners that do not come back for what they have begun.

    Attributes:
        dead: known to be gone.
        silent: gone as far as anybody can tell, with the leases they were last seen with. A record that
            shows another one was renewed meanwhile.
    """

    dead: frozenset[str] = frozenset()
    silent: Leases = field(default_factory=dict)

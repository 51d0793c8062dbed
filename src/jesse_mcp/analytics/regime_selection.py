"""How many regimes: the number of the lowest Bayesian information criterion, one included."""

from collections.abc import Callable
from dataclasses import dataclass

from jesse_mcp.analytics.regime_fit import RegimeFit, bic

MOST_REGIMES = 5
#: So many more regimes in a row that make it worse end the search.
_WORSE = 2


@dataclass(frozen=True)
class Candidate:
    """One number of regimes; the numbers are ``None`` with a ``reason``."""

    regimes: int
    log_likelihood: float | None = None
    parameters: int | None = None
    bic: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Choice:
    """``regimes`` of the lowest criterion and every candidate; ``None`` when nothing could be fitted."""

    regimes: int | None
    candidates: tuple[Candidate, ...]


def choose(fit: Callable[[int], RegimeFit | str], periods: int, most: int = MOST_REGIMES) -> Choice:
    """Try 1 to ``most`` regimes.

    Args:
        fit: of a number of regimes, or the reason why there is none.
        periods: that are fitted.

    Source: Schwarz 1978; for the order of hidden Markov models it is consistent under conditions, Gassiat &
    Boucheron, IEEE Transactions on Information Theory 49, 2003.
    """
    candidates: list[Candidate] = []
    best: Candidate | None = None
    worse = 0
    for regimes in range(1, most + 1):
        if worse >= _WORSE:
            candidates.append(Candidate(regimes, reason=f"not tried: {_WORSE} before made it worse"))
            continue
        found = fit(regimes)
        if isinstance(found, str):
            candidates.append(Candidate(regimes, reason=found))
        elif found.log_likelihood is None:
            candidates.append(Candidate(regimes, reason="the method has no likelihood"))
        else:
            value = bic(found.log_likelihood, found.free_parameters, periods)
            one = Candidate(regimes, found.log_likelihood, found.free_parameters, value)
            candidates.append(one)
            if best is None or best.bic is None or value < best.bic:
                best, worse = one, 0
                continue
        worse += 1
    return Choice(None if best is None else best.regimes, tuple(candidates))

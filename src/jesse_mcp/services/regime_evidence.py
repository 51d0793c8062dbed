"""What a search for regimes computes, before it is put into words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from jesse_mcp.analytics.regime_change_points import Segments, change_points
from jesse_mcp.analytics.regime_description import known_at
from jesse_mcp.analytics.regime_fit import Floats, Labels, RegimeFit
from jesse_mcp.analytics.regime_hmm import GaussianHmm, fit_hmm
from jesse_mcp.analytics.regime_jump import JumpModel, fit_jump
from jesse_mcp.analytics.regime_schedule import Walk, walk
from jesse_mcp.analytics.regime_selection import Choice, choose
from jesse_mcp.analytics.regime_switching import MarkovSwitching, fit_switching
from jesse_mcp.analytics.regime_volatility import fit_volatility
from jesse_mcp.domain.timeframes import DAY_MS
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.regime_request import DEFAULT_REGIMES, RegimeArguments, invalid

#: Gets the share that is done and in words what is next; may raise to end the work.
Told = Callable[[float, str], None]
_SHARE_OF_CHOICE = 0.2


@dataclass(frozen=True)
class RunByRegime:
    """Returns of a run, and the regime of the market known when the period of each began."""

    sample: Sample
    labels: Labels


@dataclass(frozen=True)
class RegimeEvidence:
    """``walk`` of a causal method, ``segments`` of the one that looks at everything."""

    sample: Sample
    regimes: int
    choice: Choice | None = None
    walk: Walk | None = None
    segments: Segments | None = None
    run: RunByRegime | None = None


def gathered(arguments: RegimeArguments, sample: Sample, run: Sample | None, told: Told) -> RegimeEvidence:
    """Takes seconds to minutes.

    Args:
        run: whose performance is asked for.

    Raises:
        ResearchError: ``invalid_argument`` when nothing can be fitted to the first training.
    """
    returns = sample.series.returns
    if arguments.method == "change_points":
        told(0.0, "change points")
        segments = change_points(returns, pause=lambda: told(0.0, "change points"))
        if isinstance(segments, str):
            raise invalid(f"there are no change points: {segments}", "give a longer series that varies")
        return RegimeEvidence(sample, len(segments.starts), segments=segments)
    choice, regimes = _number(arguments, returns, told)
    begun = 0.0 if choice is None else _SHARE_OF_CHOICE

    def fit(past: Floats, before: RegimeFit | None) -> RegimeFit | str:
        share = begun + (1 - begun) * len(past) / len(returns)
        return _fit(arguments, past, regimes, before, lambda: told(share, f"{len(past):,} periods fitted"))

    found = walk(returns, arguments.training, arguments.every, fit)
    if isinstance(found, str):
        raise invalid(
            f"{arguments.method} cannot be fitted to the first {arguments.training:,} periods: {found}",
            "give a longer training_periods, fewer regimes, or another method",
        )
    together = None if run is None else _by_regime(sample, run, found.labels)
    return RegimeEvidence(sample, regimes, choice, found, run=together)


def _number(arguments: RegimeArguments, returns: Floats, told: Told) -> tuple[Choice | None, int]:
    """Of regimes, by the first training alone."""
    if arguments.regimes is not None:
        return None, arguments.regimes
    if arguments.method in DEFAULT_REGIMES:
        return None, DEFAULT_REGIMES[arguments.method]
    first = returns[: arguments.training].copy()

    def tried(regimes: int) -> RegimeFit | str:
        share = _SHARE_OF_CHOICE * (regimes - 1) / 5
        return _fit(arguments, first, regimes, None, lambda: told(share, f"{regimes} regimes tried"))

    choice = choose(tried, len(first))
    if choice.regimes is None:
        raise invalid(
            f"no number of regimes fits the first {arguments.training:,} periods: "
            f"{choice.candidates[0].reason}",
            "give a longer training_periods, or a series that varies",
        )
    return choice, choice.regimes


def _fit(
    arguments: RegimeArguments,
    returns: Floats,
    regimes: int,
    before: RegimeFit | None,
    pause: Callable[[], None],
) -> RegimeFit | str:
    seed = arguments.seed or 0
    match arguments.method:
        case "hmm":
            last = cast("GaussianHmm | None", before)
            features = arguments.features or "return"
            return fit_hmm(returns, regimes, features=features, seed=seed, before=last, pause=pause)
        case "markov_switching":
            switching = cast("MarkovSwitching | None", before)
            return fit_switching(returns, regimes, seed=seed, before=switching, pause=pause)
        case "jump_model":
            jump = cast("JumpModel | None", before)
            return fit_jump(returns, regimes, penalty=arguments.penalty, seed=seed, before=jump, pause=pause)
    return fit_volatility(returns, regimes, pause=pause)


def _by_regime(sample: Sample, run: Sample, labels: Labels) -> RunByRegime:
    """A label counts from the end of its period on, until it is a period and a day old."""
    times, ends = run.series.timestamps, sample.series.return_timestamps
    if times is None or ends is None:
        raise invalid(
            "performance_of is given, and the periods of the source have no times",
            "give run_id, balances with times, or market",
        )
    usual = int(np.median(np.diff(ends))) if len(ends) > 1 else DAY_MS
    return RunByRegime(run, known_at(times[:-1], ends, labels, usual + DAY_MS))

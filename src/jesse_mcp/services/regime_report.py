"""Regimes as an answer: numbers by name, and what they say in plain words."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.measures import Measure, separated
from jesse_mcp.analytics.regime_change_points import LEAST_SEGMENT
from jesse_mcp.analytics.regime_description import Spell, after, joined, spells, within
from jesse_mcp.analytics.regime_filtering import Floats, expected_durations, forecast, persistence, stationary
from jesse_mcp.analytics.regime_fit import UNKNOWN, VOLATILITY_WINDOW, RegimeFit
from jesse_mcp.analytics.regime_schedule import Walk
from jesse_mcp.domain.model import Value
from jesse_mcp.services.regime_evidence import RegimeEvidence
from jesse_mcp.services.regime_findings import findings_of
from jesse_mcp.services.regime_request import DEFAULT_REGIMES, RegimeArguments

Section = dict[str, Any]

_LOOKS_AHEAD = "the method looks at all returns: nothing of it is known in advance"
_HORIZONS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000)
_MOST_FAILURES = 5

_CAUSAL = (
    "regime 0 has the lowest volatility, then ascending, in every fit. A label and its probabilities are of "
    "what was known at the end of the period: parameters of the last fit before it, made of earlier returns "
    "only, then filtering; later data changes none. The first training_periods have no label. "
)
_COMMON = (
    "Annual figures are arithmetic, Sharpe ratios against zero, ddof=1. table: returns of the periods with "
    "that label, which knows them; next_period: returns of the period after, which it could be used for. "
    "from, to, since: epoch ms at the end of a period; without times, numbers of returns from 0. "
    "expected_duration: 1 / (1 - p) periods. "
)
_NORMAL = "Returns are normal within a regime: fat tails alone can pass for a second one, of short spells. "
_OF_METHOD = {
    "hmm": "Gaussian hidden Markov model, full covariance, expectation maximisation from several starts. "
    + _NORMAL,
    "markov_switching": "Hamilton 1989, constant and variance switch, maximum likelihood of statsmodels. "
    + _NORMAL,
    "jump_model": "Nystrup, Lindstrom & Madsen 2020, on return and logarithm of the volatility of "
    f"{VOLATILITY_WINDOW} periods, standardised; transitions are shares of the fitted labels; no "
    "probabilities. ",
    "volatility": f"Volatility of {VOLATILITY_WINDOW} periods between its quantiles up to the last fit; "
    "transitions are shares of the labels of the fit; no probabilities. ",
    "change_points": "PELT (Killick et al. 2012), normal mean and variance, penalty of BIC, segments of at "
    f"least {LEAST_SEGMENT} periods. Offline: dates and segments move when data arrives. ",
}


class RegimeResult(Value):
    """Fractions, not percent."""

    source: str
    periods: int
    periods_per_year: float
    method: str
    causal: bool = Field(description="whether no label changes when later data arrives")
    regimes: int
    regimes_chosen_by: str
    current: Section
    table: tuple[Section, ...]
    transition_matrix: list[list[float | None]] | None = Field(description="from row to column, of last_fit")
    forecast: tuple[Section, ...]
    spells: tuple[Section, ...] = Field(description="the latest first")
    spells_total: int
    bic: tuple[Section, ...]
    last_fit: Section = Field(description="in sample")
    schedule: Section
    performance: Section = Field(description="of performance_of, by the regime known when each day began")
    undefined: dict[str, str] = Field(description="why one is null")
    conventions: str
    findings: tuple[str, ...]


def report(arguments: RegimeArguments, found: RegimeEvidence) -> RegimeResult:
    """Describe the evidence."""
    undefined: dict[str, str] = {}
    walked = found.walk is not None
    listed = _segments(found) if found.walk is None else spells(found.walk.labels)
    fit = found.walk.fits[-1][1] if found.walk is not None else None
    current = _current(found, listed, fit, undefined)
    table = _table(found, listed, fit, undefined)
    performance = _performance(found, undefined)
    if fit is None:
        undefined["transition_matrix"] = undefined["current.probability"] = _LOOKS_AHEAD
    sections = {
        "current": current,
        "table": table,
        "last_fit": _last_fit(found, fit, undefined),
        "schedule": _schedule(arguments, found),
        "performance": performance,
    }
    return RegimeResult(
        source=found.sample.label,
        periods=len(found.sample.series.returns),
        periods_per_year=found.sample.series.periods_per_year,
        method=arguments.method,
        causal=walked,
        regimes=found.regimes,
        regimes_chosen_by=_chosen_by(arguments, found),
        transition_matrix=None if fit is None else _matrix(fit, undefined),
        forecast=_forecast(arguments, found, fit, undefined),
        spells=tuple(_spells(arguments, found, listed)),
        spells_total=len(listed),
        bic=_bic(found),
        undefined=undefined,
        conventions=(_CAUSAL if walked else "") + _OF_METHOD[arguments.method] + _COMMON.strip(),
        findings=(*findings_of(arguments, found, sections), *found.sample.remarks),
        **sections,
    )


def _chosen_by(arguments: RegimeArguments, found: RegimeEvidence) -> str:
    if found.segments is not None:
        return "BIC penalty; each segment is a regime of its own, in order of time"
    if arguments.regimes is not None:
        return "regimes of the call"
    if found.choice is None:
        return f"default of a method without likelihood: {DEFAULT_REGIMES[arguments.method]}"
    return f"lowest BIC in the first {arguments.training:,} periods"


def _segments(found: RegimeEvidence) -> list[Spell]:
    if found.segments is None:
        return []
    starts = found.segments.starts
    ends = (*starts[1:], len(found.sample.series.returns))
    return [Spell(n, first, end - 1) for n, (first, end) in enumerate(zip(starts, ends, strict=True))]


def _moment(found: RegimeEvidence, at: int) -> int:
    times = found.sample.series.return_timestamps
    return at if times is None else int(times[at])


def _values(measures: dict[str, Measure], path: str, undefined: dict[str, str]) -> Section:
    values, reasons = separated(measures)
    undefined |= {f"{path}.{name}": reason for name, reason in reasons.items()}
    return dict(values)


def _current(
    found: RegimeEvidence, listed: list[Spell], fit: RegimeFit | None, undefined: dict[str, str]
) -> Section:
    last = listed[-1]
    section: Section = {
        "regime": last.regime,
        "since": _moment(found, last.first),
        "periods": last.periods,
        "probability": None,
        "probabilities": None,
    }
    if found.walk is None or fit is None:
        return section
    year = found.sample.series.periods_per_year
    section["fitted_volatility_annual"] = float(fit.volatilities[last.regime]) * math.sqrt(year)
    if found.walk.probabilities is None:
        undefined["current.probability"] = "the method has labels and no probabilities"
    else:
        section["probabilities"] = found.walk.probabilities[-1].tolist()
        section["probability"] = section["probabilities"][last.regime]
    return section


def _table(
    found: RegimeEvidence, listed: list[Spell], fit: RegimeFit | None, undefined: dict[str, str]
) -> tuple[Section, ...]:
    if found.walk is None or fit is None:
        return ()
    returns, year = found.sample.series.returns, found.sample.series.periods_per_year
    labels = found.walk.labels
    known = int((labels != UNKNOWN).sum())
    durations = expected_durations(fit.transition)
    rows = []
    for regime in range(found.regimes):
        own = returns[labels == regime]
        visits = [spell.periods for spell in listed if spell.regime == regime]
        path = f"table[{regime}]"
        if not visits:
            undefined[f"{path}.mean_spell"] = "no period has this label"
        rows.append(
            {
                "regime": regime,
                "periods": len(own),
                "share": len(own) / known,
                "spells": len(visits),
                "mean_spell": sum(visits) / len(visits) if visits else None,
                **_values(within(own, year), path, undefined),
                "next_period": _values(
                    within(after(returns, labels, regime), year), f"{path}.next_period", undefined
                ),
                "expected_duration": _duration(durations[regime], fit, regime, path, undefined),
            }
        )
    return tuple(rows)


def _duration(
    value: float | None, fit: RegimeFit, regime: int, path: str, undefined: dict[str, str]
) -> float | None:
    if value is not None and math.isfinite(value):
        return value
    left = bool(np.isfinite(fit.transition[regime]).all())
    undefined[f"{path}.expected_duration"] = (
        "it is never left in the fit" if left else "the fit has no period after it"
    )
    return None


def _matrix(fit: RegimeFit, undefined: dict[str, str]) -> list[list[float | None]]:
    if not np.isfinite(fit.transition).all():
        undefined["transition_matrix"] = "the fit has no period after a regime whose row is null"
    return [_finite(row) for row in fit.transition.tolist()]


def _finite(values: Iterable[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _forecast(
    arguments: RegimeArguments, found: RegimeEvidence, fit: RegimeFit | None, undefined: dict[str, str]
) -> tuple[Section, ...]:
    if found.walk is None or fit is None:
        undefined["forecast"] = _LOOKS_AHEAD
        return ()
    if not np.isfinite(fit.transition).all():
        undefined["forecast"] = "a row of the transition matrix is null"
        return ()
    now = _now(found.walk, found.regimes)
    rows = forecast(now, fit.transition, arguments.horizon)
    wanted = sorted({h for h in _HORIZONS if h <= arguments.horizon} | {arguments.horizon})
    return tuple({"periods_ahead": h, "probabilities": rows[h - 1].tolist()} for h in wanted)


def _now(walk: Walk, regimes: int) -> Floats:
    if walk.probabilities is not None:
        return np.asarray(walk.probabilities[-1])
    return np.asarray(np.eye(regimes)[walk.labels[-1]])


def _spells(arguments: RegimeArguments, found: RegimeEvidence, listed: list[Spell]) -> list[Section]:
    latest = listed[::-1][: arguments.limit]
    returns, year = found.sample.series.returns, found.sample.series.periods_per_year
    rows = []
    for spell in latest:
        row: Section = {
            "from": _moment(found, spell.first),
            "to": _moment(found, spell.last),
            "regime": spell.regime,
            "periods": spell.periods,
        }
        if found.segments is not None:
            own = returns[spell.first : spell.last + 1]
            row["mean_annual"] = float(own.mean()) * year
            row["volatility_annual"] = float(own.std(ddof=1)) * math.sqrt(year)
        rows.append(row)
    return rows


def _bic(found: RegimeEvidence) -> tuple[Section, ...]:
    if found.choice is None:
        return ()
    return tuple(
        {
            "regimes": one.regimes,
            "log_likelihood": one.log_likelihood,
            "parameters": one.parameters,
            "bic": one.bic,
            "reason": one.reason,
        }
        for one in found.choice.candidates
    )


def _last_fit(found: RegimeEvidence, fit: RegimeFit | None, undefined: dict[str, str]) -> Section:
    if found.walk is None or fit is None:
        segments = found.segments
        return {} if segments is None else {"resolution": segments.resolution, "penalty": segments.penalty}
    year = found.sample.series.periods_per_year
    shares = stationary(fit.transition)
    if shares is None:
        undefined["last_fit.long_run_shares"] = "the transitions of the fit have no single long run"
    return {
        "in_sample": True,
        "periods": found.walk.fits[-1][0],
        "means_annual": [float(mean) * year for mean in fit.means],
        "volatilities_annual": [float(one) * math.sqrt(year) for one in fit.volatilities],
        "long_run_shares": None if shares is None else shares.tolist(),
        "log_likelihood": fit.log_likelihood,
        "persistence": _kept(fit, undefined),
    }


def _kept(fit: RegimeFit, undefined: dict[str, str]) -> float | None:
    found = persistence(fit.transition)
    if found is None:
        undefined["last_fit.persistence"] = "it takes two regimes, each followed by a period"
    return found


def _schedule(arguments: RegimeArguments, found: RegimeEvidence) -> Section:
    if found.walk is None:
        return {}
    year = found.sample.series.periods_per_year
    levels = np.array([fit.volatilities for _, fit in found.walk.fits]) * math.sqrt(year)
    return {
        "training_periods": arguments.training,
        "refit_every": arguments.every,
        "first_label": _moment(found, arguments.training),
        "fits": len(found.walk.fits),
        "failed": len(found.walk.failures),
        "failures": [
            {"periods": at, "reason": reason} for at, reason in found.walk.failures[:_MOST_FAILURES]
        ],
        "volatility_range_annual": [
            [float(low), float(high)]
            for low, high in zip(levels.min(axis=0), levels.max(axis=0), strict=True)
        ],
    }


def _performance(found: RegimeEvidence, undefined: dict[str, str]) -> Section:
    if found.run is None:
        return {}
    series, labels = found.run.sample.series, found.run.labels
    rows = []
    for regime in range(found.regimes):
        own = series.returns[labels == regime]
        path = f"performance.regimes[{regime}]"
        values = _values(joined(own, series.periods_per_year), path, undefined)
        rows.append({"regime": regime, "days": len(own), **values})
    return {
        "run": found.run.sample.label,
        "days": len(series.returns),
        "days_without_label": int((labels == UNKNOWN).sum()),
        "regimes": rows,
    }

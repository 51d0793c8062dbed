"""Regimes that are planted are found, what is not there is not, and nothing later changes a label."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from jesse_mcp.analytics.regime_change_points import change_points
from jesse_mcp.analytics.regime_description import (
    ENOUGH,
    Spell,
    after,
    joined,
    known_at,
    spells,
    within,
)
from jesse_mcp.analytics.regime_fit import UNKNOWN, RegimeFit, rolling_log_volatility
from jesse_mcp.analytics.regime_hmm import fit_hmm
from jesse_mcp.analytics.regime_jump import fit_jump
from jesse_mcp.analytics.regime_schedule import Walk, fit_points, walk
from jesse_mcp.analytics.regime_selection import choose
from jesse_mcp.analytics.regime_switching import fit_switching
from jesse_mcp.analytics.regime_volatility import fit_volatility

Floats = NDArray[np.float64]
Fit = Callable[..., RegimeFit | str]

FITS: dict[str, Fit] = {
    "hmm": fit_hmm,
    "hmm of two features": partial(fit_hmm, features="return_and_volatility"),
    "markov_switching": fit_switching,
    "jump_model": fit_jump,
    "volatility": fit_volatility,
}
TRAINING, EVERY, N = 200, 75, 500


def planted(n: int, seed: int = 0, ratio: float = 3.0, stay: float = 0.99) -> tuple[Floats, Floats]:
    """Returns whose volatility is 1 % or ``ratio`` times that, and which it was."""
    random, state = np.random.default_rng(seed), 0
    returns, states = np.empty(n), np.empty(n)
    for at in range(n):
        if random.random() > stay:
            state = 1 - state
        returns[at], states[at] = random.normal(0.0005, 0.01 * (ratio if state else 1.0)), state
    return returns, states


def walked(name: str, returns: Floats, k: int = 2) -> Walk:
    found = walk(returns, TRAINING, EVERY, lambda past, before: FITS[name](past, k, before=before))
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize("name", FITS)
def test_no_later_return_changes_a_label_or_a_probability(name: str) -> None:
    """50 cuts, bit by bit, with parameters fitted again on the way."""
    returns, _ = planted(N, seed=1, stay=0.97)
    # Parameters of every cut are those of the same prefixes: kept, since fitting 50 times proves no more.
    kept: dict[tuple[bytes, int], RegimeFit | str] = {}

    def fit(past: Floats, before: RegimeFit | None) -> RegimeFit | str:
        key = past.tobytes(), id(before)
        if key not in kept:
            kept[key] = FITS[name](past, 2, before=before)
        return kept[key]

    whole = walk(returns, TRAINING, EVERY, fit)
    assert not isinstance(whole, str)
    assert len(whole.fits) == 4
    for cut in np.linspace(TRAINING + 1, N - 1, 50).astype(int).tolist():
        part = walk(returns[:cut], TRAINING, EVERY, fit)
        assert not isinstance(part, str)
        assert (part.labels == whole.labels[:cut]).all()
        if whole.probabilities is not None:
            assert part.probabilities is not None
            assert part.probabilities.tobytes() == whole.probabilities[:cut].tobytes()
    assert len(kept) == 4, "no cut was fitted to anything else"


@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_the_same_again(name: str) -> None:
    returns, _ = planted(300, seed=1, stay=0.97)
    one, two = FITS[name](returns, 2, seed=5), FITS[name](returns.copy(), 2, seed=5)
    assert not isinstance(one, str)
    assert not isinstance(two, str)
    assert one.transition.tobytes() == two.transition.tobytes()
    assert one.volatilities.tobytes() == two.volatilities.tobytes()


@pytest.mark.parametrize("name", FITS)
def test_no_label_is_made_of_later_returns(name: str) -> None:
    """Returns after a moment are replaced by others: what was said before stays."""
    returns, _ = planted(N, seed=1, stay=0.97)
    other = returns.copy()
    other[330:] = 5 * returns[330:][::-1] + 0.01
    first, second = walked(name, returns), walked(name, other)
    assert (first.labels[:330] == second.labels[:330]).all()
    assert (first.labels[:TRAINING] == UNKNOWN).all()
    assert (first.labels[TRAINING:] != UNKNOWN).all()
    assert first.fits[1][0] == TRAINING + EVERY


@pytest.mark.parametrize("name", FITS)
def test_the_unit_of_prices_makes_no_difference(name: str) -> None:
    prices = np.cumprod(1 + planted(N, seed=1, stay=0.97)[0])
    one = walked(name, prices[1:] / prices[:-1] - 1)
    ten = walked(name, (10 * prices)[1:] / (10 * prices)[:-1] - 1)
    assert (one.labels == ten.labels).all()
    if one.probabilities is not None:
        assert ten.probabilities is not None
        np.testing.assert_allclose(one.probabilities, ten.probabilities, atol=1e-6)


@pytest.mark.parametrize("name", FITS)
def test_the_scale_of_returns_scales_the_volatility_only(name: str) -> None:
    returns, _ = planted(400, seed=1, stay=0.97)
    one, hundred = FITS[name](returns, 2), FITS[name](100 * returns, 2)
    assert not isinstance(one, str)
    assert not isinstance(hundred, str)
    assert hundred.volatilities == pytest.approx(100 * one.volatilities, rel=1e-4)
    assert (one.classify(returns).labels == hundred.classify(100 * returns).labels).all()


@pytest.mark.parametrize(("name", "least"), [("hmm", 0.95), ("markov_switching", 0.95), ("jump_model", 0.85)])
def test_planted_regimes_are_found_out_of_sample(name: str, least: float) -> None:
    """Volatility 1 % and 3 %, 100 periods on average; labels by filtering."""
    returns, states = planted(2_000, seed=3)
    found = walk(returns, 500, 500, lambda past, before: FITS[name](past, 2, before=before))
    assert not isinstance(found, str)
    assert (found.labels[500:] == states[500:]).mean() >= least


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("k", [2, 3])
def test_regimes_are_ordered_by_volatility(name: str, k: int) -> None:
    returns, _ = planted(600, seed=7)
    found = FITS[name](returns, k)
    assert not isinstance(found, str)
    assert (np.diff(found.volatilities) > 0).all()
    known = found.transition[~np.isnan(found.transition).any(axis=1)]
    assert known.sum(axis=1) == pytest.approx(1)


def test_one_regime_is_chosen_for_noise_and_two_for_two() -> None:
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 0.01, 300)
        assert choose(lambda k, noise=noise: fit_hmm(noise, k), 300).regimes == 1  # type: ignore[misc]
    returns, _ = planted(500, seed=1)
    found = choose(lambda k: fit_hmm(returns, k), 500)
    assert found.regimes == 2
    assert [one.regimes for one in found.candidates] == [1, 2, 3, 4, 5]
    assert found.candidates[4].reason == "not tried: 2 before made it worse"
    values = [one.bic for one in found.candidates if one.bic is not None]
    assert found.candidates[1].bic == min(values)


def test_nothing_is_chosen_when_nothing_fits() -> None:
    found = choose(lambda k: f"no {k}", 100)
    assert found.regimes is None
    assert found.candidates[0].reason == "no 1"


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        (np.empty(0), "there are 0 returns"),
        (np.array([0.01]), "there are 1 returns"),
        (np.full(300, 0.01), "the returns do not vary"),
        (np.zeros(300), "the returns do not vary"),
        (np.append(planted(300)[0], np.nan), "a return is not a finite number"),
        (planted(12)[0], "too few"),
    ],
)
def test_what_cannot_be_fitted_says_why(name: str, returns: Floats, reason: str) -> None:
    found = FITS[name](returns, 2)
    assert isinstance(found, str)
    assert reason in found


def test_equal_returns_are_no_regime() -> None:
    """A regime without variance would have an infinite likelihood."""
    returns = planted(300, stay=1.0)[0]
    returns[50:120] = 0.0
    found = fit_hmm(returns, 2)
    assert isinstance(found, str) or found.volatilities.min() > 1e-4
    for fit in (fit_jump, fit_volatility):
        assert "is zero somewhere" in str(fit(returns, 2))


def test_a_failed_fit_leaves_the_parameters_before() -> None:
    returns, _ = planted(N, seed=1, stay=0.97)

    def fit(past: Floats, before: RegimeFit | None) -> RegimeFit | str:
        return "no" if len(past) == TRAINING + EVERY else fit_volatility(past, 2)

    found = walk(returns, TRAINING, EVERY, fit)
    assert not isinstance(found, str)
    assert found.failures == ((TRAINING + EVERY, "no"),)
    assert [at for at, _ in found.fits] == [200, 350, 425]
    first = found.fits[0][1].classify(returns[:350]).labels
    assert (found.labels[200:350] == first[200:]).all()
    assert walk(returns, TRAINING, EVERY, lambda *_: "never") == "never"
    assert "end before" in str(walk(returns[:TRAINING], TRAINING, EVERY, fit))
    assert list(fit_points(N, TRAINING, EVERY)) == [200, 275, 350, 425]


@pytest.mark.parametrize("name", ["hmm", "hmm of two features", "markov_switching"])
@pytest.mark.parametrize("size", [1e3, 1e12, 1e100])
def test_a_return_out_of_all_proportion_is_of_the_widest_regime_and_then_forgotten(
    name: str, size: float
) -> None:
    """A wrong price: beside its likelihood no other one has a digit left."""
    returns, _ = planted(450)
    fit = FITS[name](returns[:200], 2)
    assert not isinstance(fit, str), fit
    wrong = np.concatenate((returns[:220], [size], returns[220:]))
    plain, seen = fit.classify(returns), fit.classify(wrong)
    assert plain.probabilities is not None
    assert seen.probabilities is not None
    known = np.isfinite(plain.probabilities).all(axis=1)
    assert np.isfinite(seen.probabilities[1:][known]).all()
    assert seen.labels[220] == 1
    assert seen.probabilities[221 + 150 :] == pytest.approx(plain.probabilities[220 + 150 :], abs=1e-3)


def test_a_search_can_be_stopped() -> None:
    returns, _ = planted(300)

    def stop() -> None:
        raise InterruptedError

    for name, fit in FITS.items():
        with pytest.raises(InterruptedError):
            fit(returns, 2, pause=stop)
        assert name
    with pytest.raises(InterruptedError):
        change_points(returns, pause=stop)


def test_change_points_of_planted_segments() -> None:
    random = np.random.default_rng(0)
    returns = np.concatenate([random.normal(0, s, 300) for s in (0.01, 0.03, 0.01)])
    found = change_points(returns)
    assert not isinstance(found, str)
    assert len(found.starts) == 3
    assert found.starts[1:] == pytest.approx([300, 600], abs=5)
    noise = change_points(random.normal(size=500))
    assert not isinstance(noise, str)
    assert noise.starts == (0,)
    coarse = change_points(returns, resolution=10)
    assert not isinstance(coarse, str)
    assert all(start % 10 == 0 for start in coarse.starts)
    assert change_points(returns[:39]) == "39 periods are fewer than two segments of 20"
    assert change_points(np.zeros(100)) == "the returns do not vary"
    flat = np.concatenate([np.zeros(50), random.normal(0, 0.01, 50)])
    still = change_points(flat)
    assert not isinstance(still, str)
    assert still.starts == (0, 50)


def test_spells_and_what_followed() -> None:
    labels = np.array([-1, -1, 0, 0, 1, 0, 0, 0])
    assert spells(labels) == [Spell(0, 2, 3), Spell(1, 4, 4), Spell(0, 5, 7)]
    assert spells(labels)[2].periods == 3
    assert spells(np.array([], dtype=np.int64)) == []
    assert after(np.arange(8.0), labels, 0).tolist() == [3.0, 4.0, 6.0, 7.0]
    assert after(np.arange(8.0), labels, 1).tolist() == [5.0]


def test_few_returns_have_a_mean_and_no_sharpe_ratio() -> None:
    returns = planted(ENOUGH)[0]
    enough, few, none = (within(returns[:n], 365) for n in (ENOUGH, ENOUGH - 1, 0))
    assert enough["sharpe"].value == pytest.approx(returns.mean() / returns.std(ddof=1) * 365**0.5)
    assert few["mean_annual"].value == pytest.approx(returns[:-1].mean() * 365)
    assert few["sharpe"].value is few["volatility_annual"].value is None
    assert few["sharpe"].reason == "29 returns are fewer than 30"
    assert none["mean_annual"].value is None
    assert none["mean_annual"].reason
    both = joined(np.array([0.1, -0.5, 0.2]), 365)
    assert both["max_drawdown"].value == pytest.approx(0.5)
    assert both["total_return"].value == pytest.approx(1.1 * 0.5 * 1.2 - 1)


def test_a_label_is_known_from_its_end_until_it_is_old() -> None:
    times, labels = np.array([10, 20, 30]), np.array([-1, 0, 1])
    found = known_at(np.array([5, 10, 19, 20, 29, 30, 42, 43]), times, labels, 12)
    assert found.tolist() == [-1, -1, -1, 0, 0, 1, 1, -1]


def test_a_rolling_volatility_knows_no_later_return() -> None:
    returns = planted(100)[0]
    whole = rolling_log_volatility(returns)
    for cut in range(1, 100):
        part = rolling_log_volatility(returns[:cut])
        assert part.tobytes() == whole[:cut].tobytes()
    returns[30:50] = 0.001
    assert rolling_log_volatility(returns)[49] == -np.inf

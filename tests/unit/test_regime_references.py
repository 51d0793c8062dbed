"""Regimes against publications, closed forms, enumeration and other libraries."""

import itertools
import math

import numpy as np
import pytest
import ruptures
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.tools import eval_measures
from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

from jesse_mcp.analytics.regime_change_points import change_points
from jesse_mcp.analytics.regime_filtering import (
    expected_durations,
    filtered,
    forecast,
    persistence,
    smoothed,
    stationary,
)
from jesse_mcp.analytics.regime_fit import (
    VOLATILITY_WINDOW,
    bic,
    rolling_log_volatility,
    transitions_of,
)
from jesse_mcp.analytics.regime_hmm import fit_hmm
from jesse_mcp.analytics.regime_jump import cheapest_paths, fit_jump, forward_values, jump_features, losses
from jesse_mcp.analytics.regime_switching import fit_switching
from jesse_mcp.analytics.regime_volatility import fit_volatility

Floats = NDArray[np.float64]


def numbers(text: str) -> Floats:
    return np.array(text.split(), dtype=np.float64)


#: Growth of US real GNP a quarter, percent, 1951 Q2 to 1984 Q4: the data of Hamilton 1989.
GNP = numbers(
    """
    2.59316421 2.20217133 0.45827562 0.9687438 -0.24130757 0.89647478 2.05393219 1.73353648
    0.93871289 -0.46477833 -0.80983406 -1.39763689 -0.39886093 1.1918416 1.45620048 2.11808228
    1.08957863 1.32390273 0.87296367 -0.19773273 0.45420215 0.07221876 1.1030364 0.82097489
    -0.05795795 0.58447772 -1.56192672 -2.05041027 0.53637183 2.33676839 2.34014559 1.2339263
    1.8869648 -0.45920792 0.84940469 1.70139849 -0.28756312 0.09594627 -0.86080289 1.03447127
    1.23685944 1.42004502 2.22410631 1.30210173 1.03517699 0.9253425 -0.16559951 1.3444382
    1.37500131 1.73222184 0.71605635 2.21032143 0.85333031 1.00238776 0.42725441 2.14368343
    1.43789184 1.57959926 2.27469826 1.95962656 0.25992399 1.01946914 0.49016398 0.5636338 0.5959546
    1.43082857 0.56230122 1.15388393 1.68722844 0.77438205 -0.09647045 1.39600146 0.13646798
    0.55223715 -0.39944872 -0.61671102 -0.08722561 1.2101835 -0.90729755 2.64916158 -0.0080694
    0.51111895 -0.00401437 2.16821432 1.92586732 1.03504717 1.85897219 2.32004929 0.25570789
    -0.09855274 0.89073682 -0.55896485 0.28350255 -1.31155407 -0.88278776 -1.97454941 1.01275265
    1.68264723 1.38271284 1.86073637 0.4447377 0.41449001 0.99202275 1.36283576 1.59970522
    1.98845816 -0.25684232 0.87786949 3.1095655 0.85324478 1.23337317 0.00314302 -0.09433369
    0.89883322 -0.19036628 0.99772376 -2.39120054 0.06649673 1.26136017 1.91637838 -0.3348029
    0.44207108 -1.40664911 -1.52129889 0.29919869 -0.80197448 0.15204792 0.98585027 2.13034606
    1.34397924 1.61550522 2.70930099 1.24461412 0.50835466 0.14802167
    """
)
#: Filtered probability of growth by EViews, in the tests of statsmodels.
GNP_FILTERED = numbers(
    """
    0.776712 0.949192 0.99632 0.990258 0.940111 0.537442 0.140001 0.008942 0.04848 0.614097 0.910889
    0.995463 0.979465 0.992324 0.984561 0.751038 0.776268 0.522048 0.814956 0.821786 0.472729
    0.673567 0.029031 0.001556 0.433276 0.985463 0.995025 0.966067 0.998445 0.801467 0.960997
    0.996431 0.461365 0.199357 0.027398 0.703626 0.946388 0.985321 0.998244 0.989567 0.98451
    0.986811 0.793788 0.973675 0.984848 0.990418 0.918427 0.998769 0.977647 0.978742 0.927635
    0.998691 0.988934 0.991654 0.999288 0.999073 0.918636 0.98771 0.966876 0.910015 0.82615 0.969451
    0.844049 0.941525 0.993363 0.949978 0.615206 0.970915 0.787585 0.707818 0.200476 0.050835
    0.140723 0.80985 0.086422 0.990344 0.785963 0.817425 0.659152 0.996578 0.99286 0.948501 0.996883
    0.999712 0.906694 0.725013 0.96369 0.38696 0.241302 0.009078 0.015789 0.000896 0.54153 0.928686
    0.953704 0.992741 0.935877 0.918958 0.977316 0.987941 0.9873 0.996769 0.645469 0.921285 0.999917
    0.949335 0.968914 0.886025 0.777141 0.904381 0.368277 0.607429 0.002491 0.22761 0.871284
    0.987717 0.288705 0.512124 0.030329 0.005177 0.256183 0.020955 0.05162 0.549009 0.991715
    0.987892 0.995377 0.999833 0.993756 0.956164 0.927714
    """
)
#: US federal funds rate a quarter, 1954 to 2010: usmacro of Stata.
FED_FUNDS = numbers(
    """
    1.03 0.99 1.34 1.5 1.94 2.36 2.48 2.69 2.81 2.93 2.93 3 3.23 3.25 1.86 0.94 1.32 2.16 2.57 3.08
    3.58 3.99 3.93 3.7 2.94 2.3 2 1.73 1.68 2.4 2.46 2.61 2.85 2.92 2.97 2.96 3.33 3.45 3.46 3.49
    3.46 3.58 3.97 4.08 4.07 4.17 4.56 4.91 5.41 5.56 4.82 3.99 3.89 4.17 4.79 5.98 5.94 5.92 6.57
    8.33 8.98 8.94 8.57 7.88 6.7 5.57 3.86 4.56 5.47 4.75 3.54 4.3 4.74 5.14 6.54 7.82 10.56 10 9.32
    11.25 12.09 9.35 6.3 5.42 6.16 5.41 4.83 5.2 5.28 4.87 4.66 5.16 5.82 6.51 6.76 7.28 8.1 9.58
    10.07 10.18 10.95 13.58 15.05 12.69 9.84 15.85 16.57 17.78 17.58 13.59 14.23 14.51 11.01 9.29
    8.65 8.8 9.46 9.43 9.69 10.56 11.39 9.27 8.48 7.92 7.9 8.1 7.83 6.92 6.21 6.27 6.22 6.65 6.84
    6.92 6.66 7.16 7.98 8.47 9.44 9.73 9.08 8.61 8.25 8.24 8.16 7.74 6.43 5.86 5.64 4.82 4.02 3.77
    3.26 3.04 3.04 3 3.06 2.99 3.21 3.94 4.49 5.17 5.81 6.02 5.8 5.72 5.36 5.24 5.31 5.28 5.28 5.52
    5.53 5.51 5.52 5.5 5.53 4.86 4.73 4.75 5.09 5.31 5.68 6.27 6.52 6.47 5.59 4.33 3.5 2.13 1.73
    1.75 1.74 1.44 1.25 1.25 1.02 1 1 1.01 1.43 1.95 2.47 2.94 3.46 3.98 4.46 4.91 5.25 5.25 5.26
    5.25 5.07 4.5 3.18 2.09 1.94 0.51 0.18 0.18 0.16 0.12 0.13 0.19 0.19 0.19
    """
)


def normal_logs(values: Floats, means: list[float], deviations: list[float]) -> Floats:
    return np.column_stack([stats.norm.logpdf(values, m, s) for m, s in zip(means, deviations, strict=True)])


def planted(
    n: int, seed: int = 0, deviations: tuple[float, ...] = (0.01, 0.03), stay: float = 0.99
) -> Floats:
    random, state = np.random.default_rng(seed), 0
    found = np.empty(n)
    for at in range(n):
        if random.random() > stay:
            state = (state + 1) % len(deviations)
        found[at] = random.normal(0.0005, deviations[state])
    return found


def test_filter_gives_hamiltons_recessions() -> None:
    """Hamilton 1989: four lags, so that the chain of five quarters has 32 states; numbers by EViews."""
    p00, p10 = 0.754673, 0.095915
    chain = np.array([[p00, 1 - p00], [p10, 1 - p10]])
    means, deviation = np.array([-0.358811, 1.163516]), math.exp(-0.262658)
    lags = np.array([0.013486, -0.057521, -0.246983, -0.212923])
    states = list(itertools.product((0, 1), repeat=5))  # this quarter, the one before, ...
    transition = np.zeros((32, 32))
    for a, one in enumerate(states):
        for b, next_one in enumerate(states):
            if next_one[1:] == one[:4]:
                transition[a, b] = chain[one[0], next_one[0]]
    share = stationary(chain)
    assert share is not None
    initial = np.array([share[s[4]] * math.prod(chain[s[i + 1], s[i]] for i in range(4)) for s in states])
    rows = []
    for t in range(4, len(GNP)):
        apart = [
            GNP[t] - means[s[0]] - sum(lags[i] * (GNP[t - 1 - i] - means[s[i + 1]]) for i in range(4))
            for s in states
        ]
        rows.append(stats.norm.logpdf(apart, 0, deviation))
    found = filtered(initial, transition, np.array(rows))
    growth = found.probabilities[:, [s[0] == 1 for s in states]].sum(axis=1)
    np.testing.assert_allclose(growth, GNP_FILTERED, atol=1e-5)
    assert found.log_likelihood == pytest.approx(-181.26339, abs=1e-5)
    assert expected_durations(chain) == pytest.approx([4.07604744, 10.42589389], rel=1e-4)
    assert share == pytest.approx([0.281, 0.719], abs=5e-4)


def test_filter_gives_the_federal_funds_of_stata() -> None:
    """Stata manual, mswitch: two means, one variance; log-likelihood and filtered probabilities."""
    transition = np.array([[0.9820939, 1 - 0.9820939], [0.0503587, 1 - 0.0503587]])
    initial = stationary(transition)
    assert initial is not None
    assert initial == pytest.approx([0.7376958, 0.2623042], abs=1e-6)
    found = filtered(initial, transition, normal_logs(FED_FUNDS, [3.70877, 9.556793], [2.107562] * 2))
    assert found.log_likelihood == pytest.approx(-508.63592, abs=1e-5)
    assert found.probabilities[:4, 0] == pytest.approx([0.9997776, 0.999989, 0.9999828, 0.9999788], abs=1e-6)
    weights, _ = smoothed(transition, found)
    assert weights[:4, 0] == pytest.approx([0.9999886, 0.9999995, 0.9999991, 0.9999989], abs=1e-6)


def test_filter_and_smoother_of_the_umbrella() -> None:
    """Russell & Norvig, "Artificial Intelligence", section 15.2, and the five days of forward-backward."""
    rain = np.array([[0.7, 0.3], [0.3, 0.7]])
    seen = np.log(np.array([[0.9, 0.2], [0.9, 0.2], [0.1, 0.8], [0.9, 0.2], [0.9, 0.2]]))
    found = filtered(np.array([0.5, 0.5]), rain, seen)
    assert found.probabilities[:, 0] == pytest.approx([0.8182, 0.8834, 0.1907, 0.7308, 0.8673], abs=5e-5)
    weights, counts = smoothed(rain, found)
    assert weights[:, 0] == pytest.approx([0.8673, 0.8204, 0.3075, 0.8204, 0.8673], abs=5e-5)
    assert counts.sum() == pytest.approx(4)
    assert counts.sum(axis=1) == pytest.approx(weights[:-1].sum(axis=0))
    assert counts.sum(axis=0) == pytest.approx(weights[1:].sum(axis=0))


@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_recursions_are_sums_over_all_paths(seed: int, k: int, n: int) -> None:
    random = np.random.default_rng(seed)
    initial, transition = random.dirichlet(np.ones(k)), random.dirichlet(np.ones(k), size=k)
    logs = random.normal(size=(n, k))
    found = filtered(initial, transition, logs)
    total, last, each, moves = 0.0, np.zeros(k), np.zeros((n, k)), np.zeros((k, k))
    for path in itertools.product(range(k), repeat=n):
        weight = initial[path[0]] * math.exp(sum(logs[t, s] for t, s in enumerate(path)))
        weight *= math.prod(transition[a, b] for a, b in itertools.pairwise(path))
        total += weight
        last[path[-1]] += weight
        for t, s in enumerate(path):
            each[t, s] += weight
        for a, b in itertools.pairwise(path):
            moves[a, b] += weight
    assert found.log_likelihood == pytest.approx(math.log(total), abs=1e-10)
    assert found.probabilities[-1] == pytest.approx(last / total, abs=1e-10)
    weights, counts = smoothed(transition, found)
    np.testing.assert_allclose(weights, each / total, atol=1e-10)
    np.testing.assert_allclose(counts, moves / total, atol=1e-10)


def test_the_nile_has_the_regimes_of_hmmlearn() -> None:
    """hmmlearn 0.3.3, best of six starts without priors, 400 steps; Cobb 1978 dates the change to 1898."""
    flow = sm.datasets.nile.load_pandas().data["volume"].to_numpy()
    found = fit_hmm(flow, 2)
    assert not isinstance(found, str)
    assert found.log_likelihood == pytest.approx(-629.8044563906, abs=1e-3)
    assert found.means == pytest.approx([850.756536668852, 1097.152524188641], rel=1e-4)
    assert found.volatilities**2 == pytest.approx([15486.894594084823, 17888.521657200316], rel=1e-3)
    assert found.transition[1] == pytest.approx([3.592120525135e-02, 9.640787947487e-01], rel=1e-3)
    assert found.transition[0] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert found.initial == pytest.approx([0.0, 1.0], abs=1e-6)
    assert expected_durations(found.transition)[0] is None


def test_sunspots_have_the_regimes_of_hmmlearn() -> None:
    """hmmlearn 0.3.3, best of six starts without priors, 400 steps."""
    spots = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    found = fit_hmm(spots, 3)
    assert not isinstance(found, str)
    assert found.log_likelihood == pytest.approx(-1416.2643746717, abs=1e-3)
    assert found.means == pytest.approx([10.376513786743, 41.049663205274, 98.105366306296], rel=2e-3)
    assert found.volatilities**2 == pytest.approx(
        [35.800913856632, 194.426019715303, 965.935918687499], rel=5e-3
    )
    assert found.transition[0, :2] == pytest.approx([0.7019139813813, 0.2980860186187], abs=1e-3)
    assert found.transition[1] == pytest.approx([0.2372369643847, 0.5619207649013, 0.2008422707139], abs=1e-3)
    assert found.transition[2, 1:] == pytest.approx([0.2404705051534, 0.7595294948466], abs=1e-3)


def test_one_regime_is_the_normal_distribution() -> None:
    returns = planted(400)
    one = fit_hmm(returns, 1)
    assert not isinstance(one, str)
    assert one.log_likelihood == pytest.approx(
        stats.norm.logpdf(returns, returns.mean(), returns.std()).sum(), rel=1e-12
    )
    two = fit_hmm(returns, 1, features="return_and_volatility")
    assert not isinstance(two, str)
    table = np.column_stack([returns, rolling_log_volatility(returns)])[VOLATILITY_WINDOW - 1 :]
    normal = stats.multivariate_normal(table.mean(axis=0), np.cov(table.T, ddof=0))
    assert two.log_likelihood == pytest.approx(normal.logpdf(table).sum(), rel=1e-9)
    assert (one.free_parameters, two.free_parameters) == (2, 5)


def test_bic_by_hand_and_of_statsmodels() -> None:
    assert bic(-100.0, 3, 50) == pytest.approx(200 + 3 * math.log(50))
    assert bic(-629.8, 7, 100) == pytest.approx(eval_measures.bic(-629.8, 100, 7))
    found = fit_hmm(planted(300), 3)
    assert not isinstance(found, str)
    assert found.free_parameters == 2 + 6 + 3 + 3


def test_switching_is_the_maximum_of_statsmodels() -> None:
    returns = planted(800, seed=3)
    found = fit_switching(returns, 2)
    assert not isinstance(found, str)
    model = MarkovRegression(returns * 100, k_regimes=2, switching_variance=True)
    (p00, _), (p10, _) = found.transition
    at = np.array([p00, p10, *(100 * found.means), *(100 * found.volatilities) ** 2])
    theirs = model.smooth(at)
    shift = len(returns) * math.log(100)
    assert found.log_likelihood == pytest.approx(theirs.llf + shift, abs=1e-6)
    ours = found.classify(returns).probabilities
    assert ours is not None
    np.testing.assert_allclose(ours, theirs.filtered_marginal_probabilities, atol=1e-9)
    assert list(theirs.expected_durations) == pytest.approx(expected_durations(found.transition))
    fitted = model.fit(start_params=at, em_iter=0, disp=0)
    assert found.log_likelihood >= fitted.llf + shift - 1e-3
    assert found.free_parameters == len(model.param_names)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 40))
def test_two_regimes_have_closed_forms(leave: float, come: float, ahead: int) -> None:
    """Hamilton, "Time Series Analysis", 1994, eq. 22.2.21 to 22.2.26."""
    transition = np.array([[1 - leave, leave], [come, 1 - come]])
    share = stationary(transition)
    assert share is not None
    assert share == pytest.approx([come / (leave + come), leave / (leave + come)])
    assert expected_durations(transition) == pytest.approx([1 / leave, 1 / come])
    rows = forecast(np.array([1.0, 0.0]), transition, ahead)
    rate = (1 - leave - come) ** ahead
    assert persistence(transition) == pytest.approx(abs(1 - leave - come), abs=1e-12)
    assert rows[-1, 0] == pytest.approx(share[0] + share[1] * rate)
    assert rows[-1] == pytest.approx(np.linalg.matrix_power(transition, ahead)[0])


def test_a_duration_is_the_mean_of_a_geometric_distribution() -> None:
    assert expected_durations(np.array([[0.9, 0.1], [0.5, 0.5]])) == pytest.approx(
        [stats.geom(0.1).mean(), stats.geom(0.5).mean()]
    )


def test_chains_without_one_long_run_have_no_shares() -> None:
    assert stationary(np.eye(2)) is None
    assert stationary(np.array([[np.nan, np.nan], [0.5, 0.5]])) is None
    assert stationary(np.array([[0.5, 0.5], [0.0, 1.0]])) == pytest.approx([0.0, 1.0], abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0, 5), st.integers(2, 3))
@settings(max_examples=30, deadline=None)
def test_paths_are_the_cheapest_of_all(seed: int, penalty: float, k: int) -> None:
    """Every sequence of regimes; and forward values are those of the series cut there."""
    n = 7
    cost = np.random.default_rng(seed).exponential(size=(n, 1, k))
    paths, total = cheapest_paths(cost, penalty)

    def price(path: tuple[int, ...]) -> float:
        jumps = sum(a != b for a, b in itertools.pairwise(path))
        return float(sum(cost[t, 0, s] for t, s in enumerate(path)) + penalty * jumps)

    least = min(price(path) for path in itertools.product(range(k), repeat=n))
    assert total[0] == pytest.approx(least)
    assert price(tuple(paths[:, 0].tolist())) == pytest.approx(least)
    forward = forward_values(cost[:, 0], penalty)
    for end in range(k):
        ended = min(price((*path, end)) for path in itertools.product(range(k), repeat=n - 1))
        assert forward[-1, end] == pytest.approx(ended)


def test_a_free_jump_is_the_nearest_centre_and_a_dear_one_is_none() -> None:
    table = np.random.default_rng(1).normal(size=(50, 2))
    centres = np.array([[0.0, 0.0], [1.0, 1.0]])
    cost = losses(table, centres)
    assert cost[3, 1] == pytest.approx(0.5 * np.square(table[3] - 1).sum())
    free, _ = cheapest_paths(cost[:, None], 0.0)
    assert (free[:, 0] == cost.argmin(axis=1)).all()
    dear, total = cheapest_paths(cost[:, None], 1e9)
    assert len(set(dear[:, 0].tolist())) == 1
    assert total[0] == pytest.approx(cost.sum(axis=0).min())


def test_the_jump_model_is_a_fixed_point_of_its_steps() -> None:
    """Bemporad et al. 2018: neither step alone makes it cheaper."""
    returns = planted(600, seed=2)
    found = fit_jump(returns, 2, penalty=2.0)
    assert not isinstance(found, str)
    standard = (jump_features(returns) - found.centre) / found.spread
    paths, total = cheapest_paths(losses(standard, found.centres)[:, None], 2.0)
    assert total[0] == pytest.approx(found.objective)
    for regime in range(2):
        assert found.centres[regime] == pytest.approx(standard[paths[:, 0] == regime].mean(axis=0))


def test_the_nile_changed_in_1899() -> None:
    """Cobb, "The problem of the Nile", Biometrika 65, 1978: 28 years of the higher flow, then the lower."""
    flow = sm.datasets.nile.load_pandas().data["volume"].to_numpy()
    found = change_points(flow)
    assert not isinstance(found, str)
    assert found.starts == (0, 28)
    assert found.resolution == 1
    assert ruptures.Dynp("l2", jump=1).fit(flow).predict(1) == [28, 100]


def test_change_points_have_the_least_penalised_cost_of_all() -> None:
    random = np.random.default_rng(4)
    values = np.concatenate([random.normal(0, 1, 14), random.normal(0, 6, 13), random.normal(4, 1, 13)])
    standard = (values - values.mean()) / values.std()

    def cost(edges: tuple[int, ...]) -> float:
        parts = [standard[a:b] for a, b in itertools.pairwise((0, *edges, len(values)))]
        if min(len(part) for part in parts) < 5:
            return math.inf
        likelihood = sum(len(part) * math.log(part.var() + 1e-6) for part in parts)
        return likelihood + 3 * math.log(len(values)) * len(parts)

    every = [edges for many in range(4) for edges in itertools.combinations(range(1, 40), many)]
    found = change_points(values, least=5)
    assert not isinstance(found, str)
    assert found.starts[1:] == min(every, key=cost)


def test_buckets_are_quantiles_of_the_rolling_volatility() -> None:
    returns = planted(300, seed=5)
    measured = rolling_log_volatility(returns)
    plain = [np.log(np.std(returns[t - 19 : t + 1], ddof=1)) for t in range(19, 300)]
    assert np.isnan(measured[:19]).all()
    assert measured[19:] == pytest.approx(plain, rel=1e-12)
    found = fit_volatility(returns, 4)
    assert not isinstance(found, str)
    assert found.thresholds == pytest.approx(np.percentile(plain, [25, 50, 75]), rel=1e-12)
    labels = found.classify(returns).labels
    assert np.bincount(labels[19:]).tolist() == pytest.approx([281 / 4] * 4, abs=1)


def test_transitions_by_hand() -> None:
    found = transitions_of(np.array([-1, 0, 0, 1, 0, 1, 1, 2]), 3)
    np.testing.assert_allclose(found[:2], [[1 / 3, 2 / 3, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert np.isnan(found[2]).all()

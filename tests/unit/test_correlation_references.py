"""Correlations against published numbers, closed forms and other libraries."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_iris
from sklearn.metrics import silhouette_samples
from statsmodels.tsa.stattools import adfuller, coint

from jesse_mcp.analytics.cointegration import schwert_lags
from jesse_mcp.analytics.correlation import (
    METHODS,
    Method,
    average_correlation,
    confidence_interval,
    correlations,
    effective_bets,
    lag_one_autocorrelation,
    rolling_correlation,
)
from jesse_mcp.analytics.correlation_clusters import (
    correlation_distance,
    hierarchical_clusters,
    structure,
)
from jesse_mcp.analytics.covariance_shrinkage import ledoit_wolf_correlation, too_few_periods
from jesse_mcp.analytics.pair_screening import screened_pairs, unit_root_p_values

Floats = NDArray[np.float64]

# Anscombe, "Graphs in statistical analysis", American Statistician 27(1), 1973.
ANSCOMBE_X = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
ANSCOMBE_X4 = [8, 8, 8, 8, 8, 8, 8, 19, 8, 8, 8]
ANSCOMBE_Y = [
    [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68],
    [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74],
    [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73],
    [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.50, 5.56, 7.91, 6.89],
]
# Hollander & Wolfe, "Nonparametric Statistical Methods", 1973, p. 187; results: R, help of cor.test.
LIGHTNESS = [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1]
PANEL_SCORE = [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8]
# Henderson & Velleman, "Building multiple regression models interactively", Biometrics 37, 1981; results: R.
MPG = [21, 21, 22.8, 21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4]
MPG += [14.7, 32.4, 30.4, 33.9, 21.5, 15.5, 15.2, 13.3, 19.2, 27.3, 26, 30.4, 15.8, 19.7, 15, 21.4]
WEIGHT = [2.62, 2.875, 2.32, 3.215, 3.44, 3.46, 3.57, 3.19, 3.15, 3.44, 3.44, 4.07, 3.73, 3.78, 5.25]
WEIGHT += [5.424, 5.345, 2.2, 1.615, 1.835, 2.465, 3.52, 3.435, 3.84, 3.845, 1.935, 2.14, 1.513, 3.17]
WEIGHT += [2.77, 3.57, 2.78]
HORSEPOWER = [110, 110, 93, 110, 175, 105, 245, 62, 95, 123, 123, 180, 180, 180, 205, 215, 230, 66, 52, 65]
HORSEPOWER += [97, 150, 150, 245, 175, 66, 91, 113, 264, 175, 335, 109]
DISPLACEMENT = [160, 160, 108, 258, 360, 225, 360, 146.7, 140.8, 167.6, 167.6, 275.8, 275.8, 275.8, 472]
DISPLACEMENT += [460, 440, 78.7, 75.7, 71.1, 120.1, 318, 304, 350, 400, 79, 120.3, 95.1, 351, 145, 301, 121]
# Wikipedia, Spearman's rank correlation coefficient: IQ and hours of television.
IQ = [106, 86, 100, 101, 99, 103, 97, 113, 112, 110]
TELEVISION = [7, 0, 27, 50, 28, 29, 20, 12, 6, 17]
# statpsych (Bonett), help of ci.spear.
BONETT_Y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
BONETT_X = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]

IRIS = load_iris().data
LONGLEY = sm.datasets.longley.load_pandas().data


def found(x: object, y: object, method: Method = "pearson") -> tuple[float, float]:
    """Correlation and p-value of two series."""
    answer = correlations(np.column_stack([np.asarray(x, float), np.asarray(y, float)]), method)
    return float(answer.matrix[0, 1]), float(answer.p_values[0, 1])


def limits(x: Sequence[float], y: Sequence[float], method: Method = "pearson") -> tuple[float, float]:
    interval = confidence_interval(found(x, y, method)[0], len(x), method, 0.95)
    assert interval is not None
    return interval


PUBLISHED: list[tuple[str, Callable[[], float], float, float]] = [
    *(
        (
            f"Anscombe 1973, {n + 1}",
            lambda n=n: found((ANSCOMBE_X, ANSCOMBE_X4)[n == 3], ANSCOMBE_Y[n])[0],
            r,
            5e-8,
        )
        for n, r in enumerate((0.81642052, 0.81623651, 0.81628674, 0.81652144))
    ),
    ("R cor.test tuna, Pearson", lambda: found(LIGHTNESS, PANEL_SCORE)[0], 0.5711816, 5e-8),
    ("R cor.test tuna, Pearson p", lambda: found(LIGHTNESS, PANEL_SCORE)[1], 0.1082, 5e-5),
    ("R cor.test tuna, low", lambda: limits(LIGHTNESS, PANEL_SCORE)[0], -0.1497426, 5e-8),
    ("R cor.test tuna, high", lambda: limits(LIGHTNESS, PANEL_SCORE)[1], 0.8955795, 5e-8),
    ("Hollander & Wolfe 1973, tau", lambda: found(LIGHTNESS, PANEL_SCORE, "kendall")[0], 4 / 9, 1e-12),
    ("Hollander & Wolfe 1973, tau p", lambda: found(LIGHTNESS, PANEL_SCORE, "kendall")[1], 0.1194, 5e-5),
    ("R cor.test tuna, Spearman", lambda: found(LIGHTNESS, PANEL_SCORE, "spearman")[0], 0.6, 1e-12),
    ("R mtcars mpg, wt", lambda: found(MPG, WEIGHT)[0], -0.8676594, 5e-8),
    ("R mtcars mpg, wt, p", lambda: found(MPG, WEIGHT)[1], 1.294e-10, 5e-14),
    ("R mtcars mpg, wt, low", lambda: limits(MPG, WEIGHT)[0], -0.9338264, 5e-8),
    ("R mtcars mpg, wt, high", lambda: limits(MPG, WEIGHT)[1], -0.7440872, 5e-8),
    ("R mtcars mpg, wt, Spearman", lambda: found(MPG, WEIGHT, "spearman")[0], -0.886422, 5e-7),
    ("R mtcars mpg, wt, Spearman p", lambda: found(MPG, WEIGHT, "spearman")[1], 1.488e-11, 5e-15),
    ("R mtcars mpg, wt, Kendall", lambda: found(MPG, WEIGHT, "kendall")[0], -0.7278321, 5e-8),
    ("R mtcars mpg, wt, Kendall p", lambda: found(MPG, WEIGHT, "kendall")[1], 6.706e-09, 5e-13),
    ("R mtcars mpg, hp", lambda: found(MPG, HORSEPOWER)[0], -0.7761684, 5e-8),
    ("R mtcars mpg, hp, p", lambda: found(MPG, HORSEPOWER)[1], 1.788e-07, 5e-11),
    ("R mtcars mpg, hp, low", lambda: limits(MPG, HORSEPOWER)[0], -0.8852686, 5e-8),
    ("R mtcars mpg, hp, high", lambda: limits(MPG, HORSEPOWER)[1], -0.5860994, 5e-8),
    ("R mtcars mpg, disp", lambda: found(MPG, DISPLACEMENT)[0], -0.8475514, 5e-8),
    ("R mtcars mpg, disp, low", lambda: limits(MPG, DISPLACEMENT)[0], -0.9233594, 5e-8),
    ("R mtcars mpg, disp, high", lambda: limits(MPG, DISPLACEMENT)[1], -0.7081376, 5e-8),
    ("Wikipedia Spearman", lambda: found(IQ, TELEVISION, "spearman")[0], -29 / 165, 1e-12),
    ("Wikipedia Spearman p", lambda: found(IQ, TELEVISION, "spearman")[1], 0.627188, 5e-7),
    ("statpsych ci.spear", lambda: found(BONETT_Y, BONETT_X, "spearman")[0], 0.8699639, 5e-8),
    ("statpsych ci.spear, low", lambda: limits(BONETT_Y, BONETT_X, "spearman")[0], 0.5840951, 5e-8),
    ("statpsych ci.spear, high", lambda: limits(BONETT_Y, BONETT_X, "spearman")[1], 0.9638297, 5e-8),
    ("R iris lengths", lambda: found(IRIS[:, 0], IRIS[:, 2])[0], 0.8717538, 5e-8),
    ("R iris petals", lambda: found(IRIS[:, 2], IRIS[:, 3])[0], 0.9628654, 5e-8),
    ("R iris sepals", lambda: found(IRIS[:, 0], IRIS[:, 1])[0], -0.1175698, 5e-8),
    ("R longley GNP, Year", lambda: found(LONGLEY["GNP"], LONGLEY["YEAR"])[0], 0.9952735, 5e-8),
    ("R longley Unemployed, Armed", lambda: found(LONGLEY["UNEMP"], LONGLEY["ARMED"])[0], -0.1774206, 5e-8),
]


@pytest.mark.parametrize(
    ("computed", "published", "tolerance"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED]
)
def test_published_numbers(computed: Callable[[], float], published: float, tolerance: float) -> None:
    assert computed() == pytest.approx(published, abs=tolerance, rel=0)


@pytest.mark.parametrize(
    ("df", "critical"), [(3, 0.8783), (8, 0.6319), (10, 0.5760), (20, 0.4227), (50, 0.2732), (100, 0.1946)]
)
def test_the_table_of_significant_correlations(df: int, critical: float) -> None:
    """Fisher, "Statistical Methods for Research Workers", table V.A: at 5 %, two-sided."""
    n = df + 2
    x = np.linspace(-1, 1, n)
    other = np.where(np.arange(n) % 2, 1.0, -1.0)
    other -= other.mean() + x * (x @ other) / (x @ x)
    y = critical * x / math.sqrt(x @ x) + math.sqrt(1 - critical**2) * other / math.sqrt(other @ other)
    correlation, p_value = found(x, y)
    assert correlation == pytest.approx(critical, abs=1e-12)
    assert p_value == pytest.approx(0.05, abs=4e-5)


def test_the_example_of_fisher() -> None:
    """Fisher, "Statistical Methods for Research Workers", section 35: 20 pairs with 0.6, 25 with 0.8.

    z of .6931 and 1.0986 with variances of .05882 and .04545.
    """
    quantile = stats.norm.ppf(0.975)
    for correlation, n, z, variance in ((0.6, 20, 0.6931, 0.05882), (0.8, 25, 1.0986, 0.04545)):
        interval = confidence_interval(correlation, n, "pearson", 0.95)
        assert interval is not None
        low, high = (math.atanh(limit) for limit in interval)
        assert (low + high) / 2 == pytest.approx(z, abs=5e-5)
        assert ((high - low) / 2 / quantile) ** 2 == pytest.approx(variance, abs=5e-6)


@pytest.mark.parametrize(
    ("method", "correlation", "width", "needed"),
    [("pearson", 0.362, 0.25, 188), ("spearman", 0.362, 0.25, 200), ("kendall", 0.3, 0.2, 143)],
)
def test_sample_sizes_of_bonett_and_wright(
    method: Method, correlation: float, width: float, needed: int
) -> None:
    """statpsych (Bonett), help of size.ci.cor, size.ci.spear, size.ci.kendalltau."""

    def wide(n: int) -> float:
        interval = confidence_interval(correlation, n, method, 0.95)
        assert interval is not None
        return interval[1] - interval[0]

    assert wide(needed) <= width < wide(needed - 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [5, 12, 200])
def test_every_pair_is_as_scipy_has_it(method: Method, ties: bool, n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    values = np.round(values) if ties else values
    together = correlations(values, method)
    ask = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[method]
    for one in range(4):
        for other in range(one):
            expected = ask(values[:, one], values[:, other])
            assert together.matrix[one, other] == pytest.approx(expected.statistic, abs=1e-14)
            assert together.p_values[one, other] == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_pearson_intervals_as_scipy_has_them(confidence: float) -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 40))
    expected = stats.pearsonr(x, y).confidence_interval(confidence)
    interval = confidence_interval(found(x, y)[0], 40, "pearson", confidence)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_rolling_windows_as_pandas_and_scipy_have_them(method: Method) -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 60))
    rolled = rolling_correlation(x, y, 20, method)
    if method == "pearson":
        expected = pd.Series(x).rolling(20).corr(pd.Series(y)).to_numpy()[19:]
    else:
        ask = stats.spearmanr if method == "spearman" else stats.kendalltau
        expected = np.array([ask(x[at : at + 20], y[at : at + 20]).statistic for at in range(41)])
    np.testing.assert_allclose(rolled, expected, rtol=0, atol=1e-13)


def test_shrinkage_as_scikit_learn_and_the_paper_have_it() -> None:
    """Ledoit & Wolf 2004, section 3.2, written out: m, d2, b2 of lemmas 3.2 to 3.4."""
    values = np.random.default_rng(5).normal(size=(30, 12)) @ np.random.default_rng(6).normal(size=(12, 12))
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    n, k = standard.shape
    sample = standard.T @ standard / n
    identity = np.eye(k)
    d2 = float(((sample - identity) ** 2).sum()) / k
    spread = sum(float(((np.outer(row, row) - sample) ** 2).sum()) / k for row in standard) / n**2
    shrunk = ledoit_wolf_correlation(values)
    intensity = min(spread, d2) / d2
    assert shrunk.intensity == pytest.approx(intensity, rel=1e-12)
    np.testing.assert_allclose(shrunk.matrix, intensity * identity + (1 - intensity) * sample, atol=1e-14)
    np.testing.assert_allclose(shrunk.matrix, LedoitWolf().fit(standard).covariance_, atol=1e-14)


def test_shrinkage_makes_more_series_than_periods_invertible_and_nearer_the_truth() -> None:
    values = np.random.default_rng(7).normal(size=(20, 40))
    sample, shrunk = correlations(values).matrix, ledoit_wolf_correlation(values)
    assert np.linalg.matrix_rank(sample) < 40
    assert np.linalg.eigvalsh(shrunk.matrix)[0] > 0.1
    assert np.linalg.norm(shrunk.matrix - np.eye(40)) < 0.2 * np.linalg.norm(sample - np.eye(40))
    assert shrunk.intensity > 0.8
    assert too_few_periods(399, 40)
    assert not too_few_periods(400, 40)


@pytest.mark.parametrize(("k", "rho"), [(2, 0.5), (10, 0.3), (30, 0.9), (5, 0.0)])
def test_effective_bets_of_equal_correlations(k: int, rho: float) -> None:
    """Eigenvalues 1 + (k - 1) rho once, else 1 - rho: Morrison, "Multivariate Statistical Methods", 1967."""
    matrix = np.full((k, k), rho) + (1 - rho) * np.eye(k)
    first, rest = (1 + (k - 1) * rho) / k, (1 - rho) / k
    expected = first**-first * rest ** -(rest * (k - 1))
    assert effective_bets(matrix) == pytest.approx(expected, rel=1e-12)
    assert average_correlation(matrix) == pytest.approx(rho, abs=1e-14)


def test_effective_bets_are_the_entropy_scipy_has() -> None:
    matrix = correlations(np.random.default_rng(8).normal(size=(50, 7))).matrix
    expected = math.exp(stats.entropy(np.linalg.eigvalsh(matrix)))
    assert effective_bets(matrix) == pytest.approx(expected, rel=1e-12)


def test_the_distance_is_half_that_of_mantegna() -> None:
    """Mantegna 1999: sqrt(2 (1 - rho)), of 0, sqrt(2) and 2 for correlations of 1, 0 and -1."""
    matrix = np.array([[1, 0, -1], [0, 1, 0], [-1, 0, 1.0]])
    expected = np.array([[0, math.sqrt(2), 2], [math.sqrt(2), 0, math.sqrt(2)], [2, math.sqrt(2), 0]]) / 2
    np.testing.assert_allclose(correlation_distance(matrix), expected, atol=1e-15)


def blocks(seed: int = 9, n: int = 800) -> Floats:
    """Three groups of four series."""
    drawn = np.random.default_rng(seed)
    return np.column_stack([drawn.normal(size=(n, 1)) + 0.5 * drawn.normal(size=(n, 4)) for _ in range(3)])


def test_clusters_as_scikit_learn_has_them() -> None:
    matrix = correlations(blocks()).matrix
    clustering = hierarchical_clusters(matrix)
    distance = correlation_distance(matrix)
    fitted = AgglomerativeClustering(n_clusters=3, metric="precomputed", linkage="average").fit(distance)
    same = np.equal.outer(np.array(clustering.labels), np.array(clustering.labels))
    np.testing.assert_array_equal(same, np.equal.outer(fitted.labels_, fitted.labels_))
    samples = silhouette_samples(distance, fitted.labels_, metric="precomputed")
    assert clustering.silhouette == pytest.approx(float(samples.mean()), rel=1e-12)
    assert [clustering.labels[place] for place in clustering.order] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("seed", range(6))
def test_clusters_that_overlap_as_scikit_learn_has_them(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    matrix = correlations(
        drawn.normal(size=(60, 3)) @ drawn.normal(size=(3, 10)) + drawn.normal(size=(60, 10))
    ).matrix
    clustering = hierarchical_clusters(matrix)
    model = AgglomerativeClustering(max(clustering.labels) + 1, metric="precomputed", linkage="average")
    labels = model.fit(correlation_distance(matrix)).labels_
    same = np.equal.outer(np.array(clustering.labels), np.array(clustering.labels))
    np.testing.assert_array_equal(same, np.equal.outer(labels, labels))


def test_clusters_of_a_case_worked_out_by_hand() -> None:
    """0.98 within two pairs, 0 between: distances 0.1 and sqrt(0.5), silhouettes 1 - 0.1 / sqrt(0.5)."""
    matrix = np.array([[1, 0, 0.98, 0], [0, 1, 0, 0.98], [0.98, 0, 1, 0], [0, 0.98, 0, 1.0]])
    clustering = hierarchical_clusters(matrix)
    assert clustering.labels[0] == clustering.labels[2] != clustering.labels[1] == clustering.labels[3]
    assert clustering.silhouette == pytest.approx(1 - 0.1 / math.sqrt(0.5), rel=1e-12)
    assert structure(clustering.silhouette) == "strong"
    heights = cophenet(linkage(squareform(correlation_distance(matrix), checks=False), "average"))
    assert sorted(set(np.round(heights, 12))) == [0.1, round(math.sqrt(0.5), 12)]


@pytest.mark.parametrize(
    ("silhouette", "name"),
    [
        (0.71, "strong"),
        (0.7, "reasonable"),
        (0.5, "weak"),
        (0.25, "not substantial"),
        (None, "not substantial"),
    ],
)
def test_what_silhouettes_are_called(silhouette: float | None, name: str) -> None:
    """Kaufman & Rousseeuw 1990, table 4 of chapter 2: 0.71, 0.51 and 0.26 to two digits."""
    assert structure(silhouette) == name


def test_autocorrelation_as_statsmodels_has_it() -> None:
    values = np.random.default_rng(10).normal(size=(80, 3)).cumsum(axis=0)
    expected = [sm.tsa.acf(column, nlags=1)[1] for column in values.T]
    np.testing.assert_allclose(lag_one_autocorrelation(values), expected, rtol=1e-12)


def test_pairs_as_statsmodels_tests_them_in_both_directions() -> None:
    walks = np.random.default_rng(11).normal(0, 0.02, (300, 3)).cumsum(axis=0)
    lags = schwert_lags(300)
    for test in screened_pairs(walks):
        one, other = (walks[:, place] for place in test.pair)
        ways = [
            coint(one, other, maxlag=lags, autolag=None)[:2],
            coint(other, one, maxlag=lags, autolag=None)[:2],
        ]
        assert test.p_values == pytest.approx((ways[0][1], ways[1][1]), rel=1e-6)
        best = int(ways[1][1] < ways[0][1])
        assert test.dependent == test.pair[best]
        assert test.p_value == pytest.approx(min(1, 2 * ways[best][1]), rel=1e-6)
        assert test.statistic == pytest.approx(ways[best][0], rel=1e-6)
        y, x = (one, other)[best], (one, other)[1 - best]
        fitted = sm.OLS(y, sm.add_constant(x)).fit().params
        assert (test.intercept, test.hedge_ratio) == pytest.approx(tuple(fitted), rel=1e-6)


def test_unit_roots_as_statsmodels_tests_them() -> None:
    steps = np.random.default_rng(12).normal(0, 0.02, (300, 2))
    table = np.column_stack([steps[:, 0].cumsum(), steps[:, 1]])
    expected = [
        adfuller(column, maxlag=schwert_lags(300), autolag=None, result_object=False)[1] for column in table.T
    ]
    assert unit_root_p_values(table) == pytest.approx(expected, rel=1e-6)
    assert expected[1] < 1e-6

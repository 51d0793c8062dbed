"""Factor regression against certified results, textbooks and other software; all numbers are theirs."""

import math

import empyrical
import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats
from statsmodels.datasets import longley, macrodata
from statsmodels.regression.rolling import RollingOLS
from statsmodels.stats.outliers_influence import variance_inflation_factor

from jesse_mcp.analytics.factor_attribution import attribution, risk_split, rolling_betas
from jesse_mcp.analytics.factor_regression import FactorRegression, factor_regression, why_no_regression
from jesse_mcp.analytics.sharpe_inference import newey_west_lags

Floats = NDArray[np.float64]


def coefficients(found: FactorRegression) -> list[float]:
    return [found.alpha.value, *(beta.value for beta in found.betas)]


def errors(found: FactorRegression) -> list[float | None]:
    return [found.alpha.standard_error, *(beta.standard_error for beta in found.betas)]


def longley_data() -> tuple[Floats, Floats]:
    data = longley.load()
    return np.asarray(data.endog, dtype=np.float64), np.asarray(data.exog, dtype=np.float64)


def investment() -> tuple[Floats, Floats]:
    """Growth of US investment on that of GDP and the lagged real rate of interest, 1959:2 to 2009:3."""
    data = macrodata.load().data
    growth = 400 * np.diff(np.log(np.asarray(data[["realgdp", "realinv"]])), axis=0)
    return growth[:, 1], np.column_stack((growth[:, 0], np.asarray(data["realint"])[:-1]))


def simulated(seed: int = 3, n: int = 400, k: int = 3) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    factors = generator.normal(0.0005, 0.02, (n, k))
    factors[:, -1] += 0.6 * factors[:, 0]
    noise = generator.normal(0, 0.01, n + 1)
    return 0.0002 + factors @ np.linspace(1, -0.5, k) + noise[1:] + 0.5 * noise[:-1], factors


class TestLongley:
    """NIST Statistical Reference Datasets, Longley (difficulty higher), certified values."""

    def test_coefficients_and_fit(self) -> None:
        found = factor_regression(*longley_data(), hac_lags=0)
        certified = [
            -3482258.63459582,
            15.0618722713733,
            -0.358191792925910e-01,
            -2.02022980381683,
            -1.03322686717359,
            -0.511041056535807e-01,
            1829.15146461355,
        ]
        assert coefficients(found) == pytest.approx(certified, rel=1e-8)
        assert found.r_squared == pytest.approx(0.995479004577296, rel=1e-13)
        assert found.freedom == 9
        residual = math.sqrt(float((found.residuals**2).sum()) / found.freedom)
        assert residual == pytest.approx(304.854073561965, rel=1e-10)

    def test_inflation(self) -> None:
        """The VIF of R's car package of this regression."""
        found = factor_regression(*longley_data())
        published = [135.53244, 1788.51348, 33.61889, 3.58893, 399.15102, 758.98060]
        assert found.vif == pytest.approx(published, rel=2e-6)

    def test_condition_number(self) -> None:
        """Belsley's scaled condition number, 43,275, as the COLLIN option of SAS prints it."""
        assert factor_regression(*longley_data()).condition_number == pytest.approx(43_275, abs=0.5)


class TestWampler:
    """NIST StRD Wampler1 to Wampler3: polynomials of fifth degree in 0 to 20."""

    x = np.arange(21.0)
    powers = x[:, None] ** np.arange(1, 6)
    noise = np.array([759.0, *[-2048, 2048, -2048], 2523, *[-2048, 2048, -2048], 1838, -2048, 2048])
    delta = np.concatenate((noise, noise[-2::-1]))

    @pytest.mark.parametrize("base", [1.0, 0.1])
    def test_exact_ones_are_found_and_have_no_error(self, base: float) -> None:
        certified = base ** np.arange(6)
        found = factor_regression(certified[0] + self.powers @ certified[1:], self.powers)
        assert coefficients(found) == pytest.approx(certified.tolist(), rel=1e-6)
        assert found.r_squared == 1
        assert errors(found) == [None] * 6
        assert found.f is found.durbin_watson is None

    def test_wampler_3(self) -> None:
        found = factor_regression(1 + self.powers.sum(axis=1) + self.delta, self.powers, hac_lags=0)
        assert coefficients(found) == pytest.approx([1] * 6, rel=1e-5)
        assert found.r_squared == pytest.approx(0.999995559025820, rel=1e-12)
        residual = math.sqrt(float((found.residuals**2).sum()) / found.freedom)
        assert residual == pytest.approx(2360.14502379268, rel=1e-9)


class TestNeweyWest:
    """Reference output of Stata and gretl, as it is kept in the tests of statsmodels."""

    def test_stata_newey(self) -> None:
        """``newey g_realinv g_realgdp L.realint, lag(4)``."""
        found = factor_regression(*investment(), hac_lags=4)
        assert coefficients(found) == pytest.approx(
            [-9.4816727746549, 4.3742216647032, -0.61399696947899], rel=1e-10
        )
        assert errors(found) == pytest.approx(
            [1.1859338087713, 0.33125644884286, 0.29582347593197], rel=1e-10
        )
        assert found.f == pytest.approx(89.45120275471848, rel=1e-10)
        assert found.f_p == pytest.approx(1.93466284646e-28, rel=1e-9)
        assert found.freedom == 199

    def test_stata_newey_inference(self) -> None:
        interest = factor_regression(*investment(), hac_lags=4).betas[1]
        assert interest.t == pytest.approx(-2.0755518727668, rel=1e-10)
        assert interest.p == pytest.approx(0.03922090940364, rel=1e-9)
        assert interest.low == pytest.approx(-1.1973480087863, rel=1e-10)
        assert interest.high == pytest.approx(-0.03064593017165, rel=1e-8)

    def test_stata_robust_is_no_lag(self) -> None:
        """``regress g_realinv g_realgdp L.realint, vce(robust)``."""
        found = factor_regression(*investment(), hac_lags=0)
        assert errors(found) == pytest.approx(
            [1.3690593206013, 0.32355452428856, 0.32772840315987], rel=1e-10
        )
        assert found.f == pytest.approx(92.94502024547633, rel=1e-10)
        assert found.r_squared == pytest.approx(0.6769775594319385, rel=1e-13)
        assert found.adjusted_r_squared == pytest.approx(0.6737311027428123, rel=1e-13)

    def test_gretl(self) -> None:
        """HAC errors of gretl, bandwidth 4, are without the correction for the sample size."""
        returns, factors = investment()
        found = factor_regression(returns, factors, hac_lags=4)
        shrunk = [(error or 0) * math.sqrt(199 / 202) for error in errors(found)]
        assert shrunk == pytest.approx([1.17709, 0.328787, 0.293619], abs=6e-6)
        assert found.durbin_watson == pytest.approx(2.213805, abs=6e-7)

    @pytest.mark.parametrize(("n", "lags"), [(100, 4), (202, 4), (1_000, 6), (10_000, 11), (3, 1)])
    def test_lags(self, n: int, lags: int) -> None:
        """Bartlett, Newey & West 1994, table II: 4 (T/100)^(2/9)."""
        assert newey_west_lags(n) == lags
        generator = np.random.default_rng(n)
        found = factor_regression(generator.normal(size=n), generator.normal(size=(n, 1)))
        assert found.hac_lags == lags

    @pytest.mark.parametrize("lags", [0, 1, 7, 30])
    def test_statsmodels_on_returns(self, lags: int) -> None:
        returns, factors = simulated()
        fit = sm.OLS(returns, sm.add_constant(factors)).fit(
            cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
        )
        found = factor_regression(returns, factors, hac_lags=lags, confidence=0.9)
        assert coefficients(found) == pytest.approx(fit.params.tolist(), rel=1e-9)
        assert errors(found) == pytest.approx(fit.bse.tolist(), rel=1e-9)
        assert found.alpha.p == pytest.approx(fit.pvalues[0], rel=1e-8)
        assert [found.alpha.low, found.alpha.high] == pytest.approx(fit.conf_int(0.1)[0].tolist(), rel=1e-8)
        wald = fit.f_test(np.eye(4)[1:])
        assert found.f == pytest.approx(float(wald.fvalue), rel=1e-9)
        assert found.f_p == pytest.approx(float(wald.pvalue), rel=1e-7, abs=1e-300)


class TestTextbooks:
    def test_body_fat(self) -> None:
        """Kutner, Nachtsheim, Neter & Li, "Applied linear statistical models", 5th edition, table 7.1.

        Coefficients and condition number: SYSTAT 7; the variance inflation factors are of chapter 10.5.
        """
        triceps = [19.5, 24.7, 30.7, 29.8, 19.1, 25.6, 31.4, 27.9, 22.1, 25.5]
        triceps += [31.1, 30.4, 18.7, 19.7, 14.6, 29.5, 27.7, 30.2, 22.7, 25.2]
        thigh = [43.1, 49.8, 51.9, 54.3, 42.2, 53.9, 58.5, 52.1, 49.9, 53.5]
        thigh += [56.6, 56.7, 46.5, 44.2, 42.7, 54.4, 55.3, 58.6, 48.2, 51.0]
        midarm = [29.1, 28.2, 37.0, 31.1, 30.9, 23.7, 27.6, 30.6, 23.2, 24.8]
        midarm += [30.0, 28.3, 23.0, 28.6, 21.3, 30.1, 25.7, 24.6, 27.1, 27.5]
        fat = [11.9, 22.8, 18.7, 20.1, 12.9, 21.7, 27.1, 25.4, 21.3, 19.3]
        fat += [25.4, 27.2, 11.7, 17.8, 12.8, 23.9, 22.6, 25.4, 14.8, 21.1]
        found = factor_regression(np.array(fat), np.column_stack((triceps, thigh, midarm)))
        assert coefficients(found) == pytest.approx([117.084695, 4.334092, -2.856848, -2.186060], abs=6e-7)
        assert found.r_squared == pytest.approx(0.801359, abs=6e-7)
        assert found.adjusted_r_squared == pytest.approx(0.764113, abs=6e-7)
        assert found.condition_number == pytest.approx(677.372065, rel=1e-6)
        assert found.vif == pytest.approx([708.84, 564.34, 104.61], abs=6e-3)

    def test_blaisdell_company(self) -> None:
        """The same book, chapter 12: company on industry sales, d = 0.735."""
        industry = [127.3, 130.0, 132.7, 129.4, 135.0, 137.1, 141.2, 142.8, 145.5, 145.3]
        industry += [148.3, 146.4, 150.2, 153.1, 157.3, 160.7, 164.2, 165.6, 168.7, 171.7]
        company = [20.96, 21.40, 21.96, 21.52, 22.39, 22.76, 23.48, 23.66, 24.10, 24.01]
        company += [24.54, 24.30, 25.00, 25.64, 26.36, 26.98, 27.52, 27.78, 28.24, 28.78]
        found = factor_regression(np.array(company), np.array(industry)[:, None])
        assert coefficients(found) == pytest.approx([-1.4548, 0.17628], abs=6e-5)
        assert found.durbin_watson == pytest.approx(0.735, abs=6e-4)

    def test_anscombe(self) -> None:
        """Anscombe, "Graphs in statistical analysis", 1973: four sets, y = 3 + 0.5 x and R squared 0.667."""
        x = [10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        fourth = [8.0] * 7 + [19] + [8.0] * 3
        sets = [
            (x, [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]),
            (x, [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74]),
            (x, [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73]),
            (fourth, [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.50, 5.56, 7.91, 6.89]),
        ]
        for regressor, outcome in sets:
            found = factor_regression(np.array(outcome), np.array(regressor)[:, None], hac_lags=0)
            assert coefficients(found) == pytest.approx([3.0, 0.5], abs=0.003)
            assert found.r_squared == pytest.approx(0.667, abs=0.001)


class TestLibraries:
    def test_numpy(self) -> None:
        returns, factors = simulated()
        expected = np.linalg.lstsq(np.column_stack((np.ones(len(returns)), factors)), returns)[0]
        assert coefficients(factor_regression(returns, factors)) == pytest.approx(expected.tolist(), rel=1e-9)

    def test_scipy(self) -> None:
        returns, factors = simulated(k=1)
        expected = stats.linregress(factors[:, 0], returns)
        found = factor_regression(returns, factors)
        assert coefficients(found) == pytest.approx([expected.intercept, expected.slope], rel=1e-10)
        assert found.r_squared == pytest.approx(expected.rvalue**2, rel=1e-10)

    def test_empyrical(self) -> None:
        returns, factors = simulated(k=1)
        found = factor_regression(returns, factors)
        assert found.betas[0].value == pytest.approx(empyrical.beta(returns, factors[:, 0]), rel=1e-9)

    def test_inflation_of_statsmodels(self) -> None:
        _, factors = simulated(k=5)
        design = sm.add_constant(factors)
        expected = [variance_inflation_factor(design, place) for place in range(1, 6)]
        assert factor_regression(factors @ np.ones(5), factors).vif == pytest.approx(expected, rel=1e-9)

    def test_rolling_of_statsmodels(self) -> None:
        returns, factors = simulated()
        found = rolling_betas(returns, factors, 60, most=50)
        expected = np.asarray(RollingOLS(returns, sm.add_constant(factors), window=60).fit().params)
        assert found.every == 7
        assert found.ends[-1] == len(returns) - 1
        np.testing.assert_allclose(
            np.column_stack((found.alphas, found.betas)), expected[found.ends], rtol=1e-6, atol=1e-10
        )

    def test_risk_of_a_covariance_matrix(self) -> None:
        """b' S b of the betas and the covariance of the factors is the systematic variance."""
        returns, factors = simulated()
        found = factor_regression(returns, factors)
        split = risk_split(returns, factors, found)
        betas = np.array([beta.value for beta in found.betas])
        assert split.systematic**2 == pytest.approx(betas @ np.cov(factors.T) @ betas, rel=1e-10)
        assert split.idiosyncratic == pytest.approx(found.residuals.std(ddof=1), rel=1e-10)
        assert split.total == pytest.approx(returns.std(ddof=1), rel=1e-12)

    def test_attribution_of_a_portfolio_that_is_known(self) -> None:
        """Two thirds of the first factor, one of the second, and a fixed gain: each pays its part."""
        _, factors = simulated(k=2)
        returns = 0.001 + factors @ np.array([2 / 3, 1 / 3])
        assert why_no_regression(returns, factors, ["a", "b"]) is None
        parts = attribution(returns, factors, factor_regression(returns, factors))
        assert parts.contributions == pytest.approx(
            (factors.mean(axis=0) * [2 / 3, 1 / 3]).tolist(), rel=1e-9
        )
        assert parts.alpha == pytest.approx(0.001, rel=1e-9)
        assert parts.mean == pytest.approx(returns.mean(), rel=1e-12)

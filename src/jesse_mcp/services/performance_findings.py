"""What the numbers of a performance analysis say, in plain sentences."""

from collections.abc import Mapping

from jesse_mcp.analytics.measures import Measure
from jesse_mcp.analytics.return_series import ReturnSeries

_FEW_TRADES = 30
_LARGE_SHARE = 0.25
_LARGE_FEES = 0.3
_AUTOCORRELATED = 0.9
_SIGNIFICANT = 0.05


def findings_of(
    series: ReturnSeries, measures: Mapping[str, Measure], trades: Mapping[str, Measure] | None
) -> list[str]:
    """Sentences on the returns, then on the trades where there are any."""
    values = {name: measure.value for name, measure in measures.items()}
    found = [*_on_return(series, values), *_on_sharpe(series, values), *_on_drawdown(values)]
    if trades is not None:
        found += _on_trades({name: measure.value for name, measure in trades.items()})
    return found


def _on_return(series: ReturnSeries, values: Mapping[str, float | None]) -> list[str]:
    total, annual = values["total_return"], values["annual_return"]
    if total is None or annual is None:
        return []
    years = len(series.returns) / series.periods_per_year
    if series.ruined:
        return [f"everything was lost within {_periods(series)}"]
    sentence = f"{total:+.1%} over {_periods(series)}, {years:.2f} years, is {annual:+.1%} a year"
    if years < 1:
        sentence += ": less than a year, extrapolated"
    return [sentence]


def _periods(series: ReturnSeries) -> str:
    count = len(series.returns)
    return f"{count:,} period{'' if count == 1 else 's'}"


def _on_sharpe(series: ReturnSeries, values: Mapping[str, float | None]) -> list[str]:
    sharpe, low, high = values["sharpe_ratio"], values["sharpe_low_95"], values["sharpe_high_95"]
    found = []
    if sharpe is not None and low is not None and high is not None:
        verdict = f"includes zero: {_periods(series)} do not tell it from luck"
        if not low <= 0 <= high:
            verdict = "is below zero" if high < 0 else "is above zero, if this was the only variant tried"
        found.append(
            f"the 95 % interval of the Sharpe ratio {sharpe:.2f}, {low:.2f} to {high:.2f}, {verdict}"
        )
    adjusted = values["autocorrelation_adjusted_sharpe"]
    if sharpe is not None and adjusted is not None and 0 < adjusted < _AUTOCORRELATED * sharpe:
        found.append(
            f"returns are autocorrelated: allowing for it the Sharpe ratio of {sharpe:.2f} is {adjusted:.2f}"
        )
    return found


def _on_drawdown(values: Mapping[str, float | None]) -> list[str]:
    deepest, under = values["max_drawdown"], values["time_under_water"]
    if deepest is None or under is None:
        return []
    if deepest == 0:
        return ["no balance is below an earlier one: there is no drawdown to judge the risk by"]
    sentence = f"the deepest drawdown is {deepest:.1%}; {under:.0%} of the time was under water"
    current = values["current_drawdown"]
    if current:
        sentence += f", the end too, {current:.1%} below the highest balance"
    return [sentence]


def _on_trades(values: Mapping[str, float | None]) -> list[str]:
    count = int(values["trades"] or 0)
    if count == 0:
        return ["no trade was closed"]
    found = []
    if count < _FEW_TRADES:
        found.append(f"only {count} trades were closed: their statistics are rough")
    return found + _on_concentration(values) + _on_win_rate(values) + _on_costs(values) + _on_order(values)


def _on_concentration(values: Mapping[str, float | None]) -> list[str]:
    share, net, without = (
        values[name] for name in ("largest_win_share", "net_profit", "profit_without_largest")
    )
    if share is None or net is None or without is None:
        return []
    if net > 0 and without <= 0:
        return [
            f"all of the net profit comes from one trade: without it {without:+,.2f} is left of {net:+,.2f}"
        ]
    if share >= _LARGE_SHARE:
        return [f"{share:.0%} of the gross profit comes from one trade; without it {without:+,.2f} is left"]
    return []


def _on_win_rate(values: Mapping[str, float | None]) -> list[str]:
    rate, low, high, payoff = (
        values[name] for name in ("win_rate", "win_rate_low_95", "win_rate_high_95", "payoff_ratio")
    )
    if rate is None or low is None or high is None or payoff is None:
        return []
    needed = 1 / (1 + payoff)
    if not low <= needed <= high:
        return []
    return [
        f"{rate:.0%} of the trades won (95 % interval {low:.0%} to {high:.0%}); at this payoff ratio "
        f"{needed:.0%} would break even, which the interval holds"
    ]


def _on_costs(values: Mapping[str, float | None]) -> list[str]:
    fees, net = values["fees"], values["net_profit"]
    if not fees or net is None:
        return []
    before = net + fees
    if before <= 0:
        return []
    if net <= 0:
        return [f"fees of {fees:,.2f} turned a profit of {before:,.2f} into {net:+,.2f}"]
    if fees / before < _LARGE_FEES:
        return []
    return [f"fees took {fees / before:.0%} of what the trades earned"]


def _on_order(values: Mapping[str, float | None]) -> list[str]:
    p_value, z = values["runs_test_p_value"], values["runs_test_z"]
    if p_value is None or z is None or p_value >= _SIGNIFICANT:
        return []
    how = "longer" if z < 0 else "shorter"
    return [f"streaks of wins and losses are {how} than chance makes (runs test, p = {p_value:.3f})"]

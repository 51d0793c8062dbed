"""What a reader of a backtest of a pair should not overlook."""

import numpy as np

from jesse_mcp.services.pairs_experiment import PairExperiment
from jesse_mcp.services.pairs_plan import PairsPlan

_LEVEL = 0.05
_FEW_TRADES = 30


def findings_of(plan: PairsPlan, found: PairExperiment, trials: int) -> tuple[str, ...]:
    """In words, the heaviest first.

    Args:
        trials: distinct experiments with this pair.
    """
    said = [*_of_relation(plan, found), *_of_trading(plan, found)]
    if trials > 1:
        said.append(
            f"{trials} experiments with this pair are counted: significance_test says what the best of them "
            "is worth. Other pairs that were looked at are not among them: give them as trials"
        )
    said.append("funding is not modelled: a position held over it pays or earns what is not in these numbers")
    return tuple(said)


def _of_relation(plan: PairsPlan, found: PairExperiment) -> list[str]:
    said = []
    before, after = found.formation, found.traded
    if (why := before.undefined.get("engle_granger")) is not None:
        said.append(f"cointegration could not be tested on the formation: {why}")
    if before.engle_granger is not None and before.johansen is not None:
        p_value = before.engle_granger.p_value
        if p_value >= _LEVEL:
            said.append(
                f"the formation does not show cointegration: p-value {p_value:.3f} by Engle-Granger, rank "
                f"{before.johansen.rank} by Johansen"
            )
        elif after.engle_granger is not None and after.engle_granger.p_value >= _LEVEL:
            said.append(
                f"the two were cointegrated before the start (p-value {p_value:.3f}) and are not shown to be "
                f"so behind it ({after.engle_granger.p_value:.3f})"
            )
        if before.johansen.rank == 2:
            said.append("by Johansen's test both series are stationary themselves: no pair is needed")
    lookback = plan.arguments.lookback
    if before.half_life is not None and lookback < before.half_life:
        said.append(
            f"the half-life in the formation is {before.half_life:.1f} bars, lookback {lookback}: the mean "
            "follows the spread faster than it returns"
        )
    return said


def _of_trading(plan: PairsPlan, found: PairExperiment) -> list[str]:
    simulation, said = found.simulation, []
    if simulation.ruined is not None:
        said.append(
            "everything was lost: the run ended there; a balance below zero is what the position lost beyond "
            "it, which an exchange would have prevented by a liquidation"
        )
    count = len(simulation.trades)
    if count < _FEW_TRADES:
        said.append(f"{count} pairs were traded: too few to tell skill from luck")
    if simulation.skipped["margin"]:
        said.append(
            f"{simulation.skipped['margin']} entries were not made: notional "
            f"{plan.terms.notional:,.6g} was above leverage times balance"
        )
    ratios = found.hedge.ratios[plan.prices.formation :]
    known = ratios[np.isfinite(ratios)]
    if len(known) < len(ratios):
        said.append(
            f"{len(ratios) - len(known):,} of {len(ratios):,} bars have no hedge ratio, and nothing is "
            f"entered at them: {plan.arguments.symbol_x} had not moved for too long"
        )
    if simulation.skipped["hedge_ratio"]:
        said.append(
            f"{simulation.skipped['hedge_ratio']} entries were not made: the hedge ratio was not above zero, "
            "so the second leg would not have offset the first"
        )
    elif len(known) and not bool((known > 0).any()):
        said.append("the hedge ratio was never above zero: the two do not move together")
    costs = sum(leg.fee + leg.slippage for trade in simulation.trades for leg in trade.legs)
    earned = sum(trade.pnl for trade in simulation.trades) + costs
    if count and 0 < earned < costs:
        said.append(f"fees and slippage of {costs:,.2f} took more than the {earned:,.2f} the pair earned")
    return said

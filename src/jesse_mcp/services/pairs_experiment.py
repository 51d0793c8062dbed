"""What a backtest of a pair computes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.cointegration import (
    EngleGranger,
    Johansen,
    engle_granger,
    johansen,
    why_no_cointegration_test,
)
from jesse_mcp.analytics.hedge_ratio import HedgePath, hedge_path
from jesse_mcp.analytics.mean_reversion import half_life, why_no_half_life
from jesse_mcp.analytics.pairs_signals import Rules, comparable_prices, unit_quantities, z_scores
from jesse_mcp.analytics.pairs_simulation import PairMarket, Simulation, simulate
from jesse_mcp.services.pairs_plan import PairsPlan
from jesse_mcp.services.pairs_request import invalid


@dataclass(frozen=True)
class Relation:
    """Whether the two stay together over some bars.

    ``undefined`` says why a part is ``None``.
    """

    bars: int
    engle_granger: EngleGranger | None
    johansen: Johansen | None
    half_life: float | None
    undefined: dict[str, str]


@dataclass(frozen=True)
class PairExperiment:
    """Arrays are of all bars, formation included; ratios are of comparable prices, see ``units``.

    ``formation`` is known before the first trade, ``traded`` only in hindsight: no trade rests on it.
    """

    formation: Relation
    traded: Relation
    hedge: HedgePath
    market: PairMarket
    simulation: Simulation
    units: float


def experiment(plan: PairsPlan, pause: Callable[[], None] = lambda: None) -> PairExperiment:
    """Compute everything; takes seconds for long periods.

    Args:
        pause: called now and then; may raise to end the work.

    Raises:
        ResearchError: ``invalid_argument`` when the formation gives no hedge ratio.
    """
    arguments, prices = plan.arguments, plan.prices
    formation, log = prices.formation, arguments.log_prices
    y, x = (comparable_prices(prices.closes[:, leg], formation, log_prices=log) for leg in (0, 1))
    try:
        hedge = hedge_path(arguments.hedge_ratio, y, x, formation, arguments.window, pause)
    except ValueError as error:
        raise invalid(
            f"hedge_ratio {arguments.hedge_ratio} cannot be estimated on the {formation:,} formation bars: "
            f"{error}",
            "choose other symbols, another hedge_ratio, or other formation_bars",
        ) from error
    pause()
    market = PairMarket(
        opens=prices.opens,
        closes=prices.closes,
        quantities=unit_quantities(
            prices.closes, hedge.ratios, formation, plan.terms.notional, log_prices=log
        ),
        z=z_scores(y, x, hedge.ratios, arguments.lookback, pause),
        ratios=hedge.ratios,
        first=formation,
    )
    rules = Rules(arguments.entry_z, arguments.exit_z, arguments.stop_z, arguments.max_holding_bars)
    simulation = simulate(market, rules, plan.terms, pause)
    before = _relation(y[:formation], x[:formation])
    pause()
    means = prices.closes[:formation].mean(axis=0)
    return PairExperiment(
        formation=before,
        traded=_relation(y[formation:], x[formation:]),
        hedge=hedge,
        market=market,
        simulation=simulation,
        units=1.0 if log else float(means[0] / means[1]),
    )


def _relation(y: NDArray[np.float64], x: NDArray[np.float64]) -> Relation:
    reason = why_no_cointegration_test(y, x)
    if reason is not None:
        names = ("engle_granger", "johansen", "half_life")
        return Relation(len(y), None, None, None, dict.fromkeys(names, reason))
    tested = engle_granger(y, x)
    undefined = {}
    if (why := why_no_half_life(tested.residuals)) is not None:
        undefined["half_life"] = why
    return Relation(
        bars=len(y),
        engle_granger=tested,
        johansen=johansen(np.column_stack((y, x))),
        half_life=half_life(tested.residuals),
        undefined=undefined,
    )

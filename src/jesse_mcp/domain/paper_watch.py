"""What a paper session is watched for, and when it is said that it has happened.

Everything here is a function of balances, trades and time: the same minutes give the same alerts with the
same keys, in whatever portions they come.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.paper_records import PaperAlert
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, iso_minute

WatchKind = Literal["drawdown", "daily_loss", "loss_streak", "no_data", "drift"]
#: Of a limit, below which a drawdown or a loss has to fall before the next crossing is told: one that hovers
#: around the limit is one alert.
RE_ARM = 0.9
#: What a fraction may lack of its limit by the rounding of a division.
_ROUNDING = 1e-12

#: Lowest and highest return that is usual after so many days, with the probability of ``limit`` between them.
Band = Callable[[int], tuple[float, float]]


class Threshold(Value):
    """``drawdown``: of the highest equity so far, fraction. ``daily_loss``: of the equity at the beginning of
    the UTC day, fraction. ``loss_streak``: losing trades in a row. ``no_data``: minutes without a candle of
    the exchange. ``drift``: the return since the start is outside what the run ``run_id`` makes usual with
    this probability."""

    kind: WatchKind
    limit: float
    stop: bool = Field(default=False, description="stop the session when it is crossed")
    run_id: str | None = Field(default=None, description="of drift: a backtest of the same strategy")


@dataclass
class _State:
    """What has to be remembered from one minute to the next. ``crossed`` has the places of the thresholds
    that are crossed, each until it is armed again."""

    peak: float
    equity: float
    day_start: float
    day: int | None = None
    streak: int = 0
    first_balance: float | None = None
    days: int = 0
    crossed: set[int] = field(default_factory=set)


class Watcher:
    """Follows one session from its first minute; to go on with one, it is shown everything again.

    Args:
        thresholds: their places are part of the keys of alerts.
        starting_balance: positive.
        bands: of each threshold of drift, by its place.
    """

    def __init__(
        self, thresholds: tuple[Threshold, ...], starting_balance: float, bands: dict[int, Band] | None = None
    ) -> None:
        self._state = _State(starting_balance, starting_balance, starting_balance)
        self._thresholds = thresholds
        self._bands = bands or {}
        self._alerts: list[PaperAlert] = []

    def observe(
        self,
        equity: Iterable[tuple[int, float]],
        trades: Iterable[Trade],
        daily: Iterable[tuple[int, float]],
    ) -> tuple[PaperAlert, ...]:
        """What is crossed by what is new, oldest first.

        Args:
            equity: close of the minute (epoch ms) and the equity then, oldest first.
            trades: closed, oldest first.
            daily: epoch milliseconds and balance; the very first one is that of the start.
        """
        for moment, value in equity:
            self._minute(moment, value)
        for trade in trades:
            self._trade(trade)
        for moment, balance in daily:
            self._day(moment, balance)
        found, self._alerts = self._alerts, []
        return tuple(sorted(found, key=lambda alert: (alert.timestamp, alert.key)))

    def silence(self, last_close: int, now: int) -> tuple[PaperAlert, ...]:
        """One alert for each threshold of ``no_data``, with one key however often it is asked.

        Args:
            last_close: of the last candle, or the start of a session without one; epoch ms.
            now: epoch ms.
        """
        minutes = (now - last_close) / MINUTE_MS
        return tuple(
            PaperAlert(
                key=f"{place}:no_data:{last_close}",
                timestamp=last_close + int(threshold.limit * MINUTE_MS),
                kind="no_data",
                message=f"no candle has come since {iso_minute(last_close)}, for {threshold.limit:g} minutes",
                value=minutes,
                limit=threshold.limit,
                stop=threshold.stop,
            )
            for place, threshold in enumerate(self._thresholds)
            if threshold.kind == "no_data" and minutes >= threshold.limit
        )

    def _minute(self, moment: int, equity: float) -> None:
        state = self._state
        # The minute that closes at midnight is the last one of its day.
        day = (moment - 1) // DAY_MS
        if day != state.day:
            # A session begins with its starting balance, a later day with what the day before left.
            state.day, state.day_start = day, state.equity
            state.crossed -= self._places("daily_loss")
        state.peak, state.equity = max(state.peak, equity), equity
        drawdown = _loss(equity, state.peak)
        for place in self._newly("drawdown", drawdown, RE_ARM):
            what = f"equity is {drawdown:.2%} below its highest of {state.peak:,.2f}"
            self._tell(place, moment, drawdown, what)
        loss = _loss(equity, state.day_start)
        for place in self._newly("daily_loss", loss, RE_ARM):
            what = f"equity is {loss:.2%} below the {state.day_start:,.2f} of the beginning of the day"
            self._tell(place, moment, loss, what)

    def _trade(self, trade: Trade) -> None:
        self._state.streak = streak = self._state.streak + 1 if trade.pnl < 0 else 0
        for place in self._newly("loss_streak", streak, 1.0):
            self._tell(place, trade.closed_at, streak, f"{streak} trades in a row have lost")

    def _day(self, moment: int, balance: float) -> None:
        state = self._state
        if state.first_balance is None:
            state.first_balance = balance
            return
        state.days += 1
        if state.first_balance <= 0:
            return
        value = max(balance, 0.0) / state.first_balance - 1
        for place, band in self._bands.items():
            low, high = band(state.days)
            if not self._is_new(place, reached=not low <= value <= high, calm=low <= value <= high):
                continue
            side = "below" if value < low else "above"
            threshold = self._thresholds[place]
            what = (
                f"the return after {state.days} days is {value:.2%}, {side} the band of {low:.2%} to "
                f"{high:.2%} that holds it with probability {threshold.limit:g} by run {threshold.run_id}"
            )
            self._tell(place, moment, value, what, low if value < low else high)

    def _places(self, kind: WatchKind) -> set[int]:
        return {place for place, threshold in enumerate(self._thresholds) if threshold.kind == kind}

    def _newly(self, kind: WatchKind, value: float, re_arm: float) -> list[int]:
        """Thresholds of a kind that ``value`` has just reached."""
        return [
            place
            for place, threshold in enumerate(self._thresholds)
            if threshold.kind == kind
            and self._is_new(
                place, reached=value >= threshold.limit - _ROUNDING, calm=value < re_arm * threshold.limit
            )
        ]

    def _is_new(self, place: int, *, reached: bool, calm: bool) -> bool:
        """Whether a threshold is reached that has been calm since it was reached before."""
        crossed = self._state.crossed
        if calm:
            crossed.discard(place)
        if not reached or place in crossed:
            return False
        crossed.add(place)
        return True

    def _tell(self, place: int, moment: int, value: float, what: str, edge: float | None = None) -> None:
        threshold = self._thresholds[place]
        if edge is None:
            what += f"; the limit is {threshold.limit:g}"
        self._alerts.append(
            PaperAlert(
                key=f"{place}:{threshold.kind}:{moment}",
                timestamp=moment,
                kind=threshold.kind,
                message=what,
                value=value,
                limit=threshold.limit,
                band_edge=edge,
                stop=threshold.stop,
            )
        )


def _loss(equity: float, of: float) -> float:
    """Fraction of ``of`` that is gone; all of it at zero or below, none of nothing."""
    return 1 - max(equity, 0.0) / of if of > 0 else 0.0

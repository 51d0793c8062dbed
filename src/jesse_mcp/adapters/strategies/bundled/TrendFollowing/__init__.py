import math

import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy, cached

ADX_PERIOD = 14
ATR_PERIOD = 14


class TrendFollowing(Strategy):
    """Ride a trend: two moving averages in order, strength confirmed by ADX, exit on a trailing stop.

    Idea: large moves persist longer than chance; being in them pays for the many small losses.
    Entry: the fast EMA is above the slow one (long) or below it (short), ADX exceeds its threshold, and
        the last trade ended at least ``cooldown`` candles ago. Market order at the close.
    Exit: a stop ``atr_multiple`` ATR behind the best close since entry, never moved back; or at the market
        once the averages have changed their order.
    Risk: ``exposure`` of the available margin (times the leverage) per position. The stop decides how much of
        it is lost, so a volatile market risks more: lower the exposure there.
    Fails: in sideways markets, where every cross is late and every stop is hit; after gaps through the stop.
    Spot trades long only.
    """

    def hyperparameters(self):
        return [
            {"name": "fast_period", "type": int, "min": 5, "max": 40, "default": 20},
            {"name": "slow_period", "type": int, "min": 41, "max": 100, "default": 50},
            {"name": "adx_threshold", "type": int, "min": 10, "max": 40, "default": 20},
            {"name": "atr_multiple", "type": float, "min": 1.0, "max": 6.0, "step": 0.5, "default": 3.0},
            {"name": "cooldown", "type": int, "min": 0, "max": 24, "default": 3},
            {"name": "exposure", "type": float, "min": 0.05, "max": 0.95, "step": 0.05, "default": 0.5},
        ]

    @property
    @cached
    def trend(self) -> int:
        """1 in a rising trend, -1 in a falling one, 0 while the averages are not known yet."""
        if len(self.candles) < 2 * self.hp["slow_period"]:
            return 0
        gap = ta.ema(self.candles, self.hp["fast_period"]) - ta.ema(self.candles, self.hp["slow_period"])
        return 1 if gap > 0 else -1 if gap < 0 else 0

    @property
    @cached
    def stop_distance(self) -> float:
        return self.hp["atr_multiple"] * ta.atr(self.candles, ATR_PERIOD)

    def has_signal(self, direction: int) -> bool:
        rested = self.trades_count == 0 or self.index - self.last_trade_index >= self.hp["cooldown"]
        if not rested or self.trend != direction:
            return False
        strong = ta.adx(self.candles, ADX_PERIOD) > self.hp["adx_threshold"]
        return strong and math.isfinite(self.stop_distance) and self.stop_distance > 0

    def should_long(self) -> bool:
        return self.has_signal(1)

    def should_short(self) -> bool:
        return not self.is_spot_trading and self.has_signal(-1)

    def position_qty(self) -> float:
        margin = self.leveraged_available_margin * self.hp["exposure"]
        return utils.size_to_qty(margin, self.price, precision=6, fee_rate=self.fee_rate)

    def go_long(self) -> None:
        self.vars["qty"] = self.position_qty()
        self.vars["distance"] = self.stop_distance
        self.buy = self.vars["qty"], self.price

    def go_short(self) -> None:
        self.vars["qty"] = self.position_qty()
        self.vars["distance"] = self.stop_distance
        self.sell = self.vars["qty"], self.price

    def filters(self) -> list:
        return [self.can_afford_a_position]

    def can_afford_a_position(self) -> bool:
        return self.vars["qty"] > 0

    def on_open_position(self, order) -> None:
        # Spot accepts a stop only now that there is something to sell.
        self.set_stop(self.position.entry_price, self.vars["distance"])

    def update_position(self) -> None:
        if self.trend == (-1 if self.is_long else 1):
            self.liquidate()
        else:
            self.set_stop(self.price, self.stop_distance)

    def set_stop(self, price: float, distance: float) -> None:
        """Put the stop ``distance`` behind ``price``, unless it is closer to the market already."""
        before = self.average_stop_loss if self.stop_loss is not None else None
        if self.is_long:
            stop = price - distance if before is None else max(before, price - distance)
        else:
            stop = price + distance if before is None else min(before, price + distance)
        if stop > 0:
            self.stop_loss = self.position.qty, stop

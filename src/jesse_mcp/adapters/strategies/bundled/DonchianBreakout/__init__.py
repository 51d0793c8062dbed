import math

import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy, cached

ATR_PERIOD = 14


class DonchianBreakout(Strategy):
    """Buy new highs and sell new lows: stop orders at the edge of the price channel, fixed risk per trade.

    Idea: a price beyond its recent range meets orders that were waiting there, and moves on.
    Entry: while the close is in the upper half of the Donchian channel, a buy stop at its upper edge; in the
        lower half a sell stop at its lower edge. The order is renewed with every candle.
    Exit: a stop ``stop_atr`` ATR from the entry and a take-profit ``reward`` times as far away.
    Risk: the distance to the stop costs ``risk_percent`` of the available margin, fees aside; never more is
        bought than the margin and the leverage allow.
    Fails: in ranges, where breakouts fall back at once; when fees are large against the ATR of the timeframe.
    Spot trades long only.
    """

    def hyperparameters(self):
        return [
            {"name": "period", "type": int, "min": 10, "max": 100, "default": 30},
            {"name": "stop_atr", "type": float, "min": 0.5, "max": 5.0, "step": 0.5, "default": 2.0},
            {"name": "reward", "type": float, "min": 0.5, "max": 6.0, "step": 0.5, "default": 2.0},
            {"name": "risk_percent", "type": float, "min": 0.25, "max": 5.0, "step": 0.25, "default": 1.0},
        ]

    @property
    @cached
    def channel(self):
        return ta.donchian(self.candles, self.hp["period"])

    @property
    @cached
    def stop_distance(self) -> float:
        return self.hp["stop_atr"] * ta.atr(self.candles, ATR_PERIOD)

    @property
    def is_ready(self) -> bool:
        enough = len(self.candles) > max(self.hp["period"], 3 * ATR_PERIOD)
        return enough and math.isfinite(self.stop_distance) and self.stop_distance > 0

    def should_long(self) -> bool:
        return self.is_ready and self.price >= self.channel.middleband

    def should_short(self) -> bool:
        return not self.is_spot_trading and self.is_ready and self.price < self.channel.middleband

    def go_long(self) -> None:
        entry = self.channel.upperband
        self.plan(entry, entry - self.stop_distance)
        self.buy = self.vars["qty"], entry

    def go_short(self) -> None:
        entry = self.channel.lowerband
        self.plan(entry, entry + self.stop_distance)
        self.sell = self.vars["qty"], entry

    def plan(self, entry: float, stop: float) -> None:
        """Fix size and stop distance when the order is placed; it may fill in the middle of a candle."""
        # Leverage raises what can be bought but not what may be lost, so it is taken out of the risk again.
        self.vars["qty"] = utils.risk_to_qty(
            self.leveraged_available_margin,
            self.hp["risk_percent"] / self.leverage,
            entry,
            stop,
            precision=6,
            fee_rate=self.fee_rate,
        )
        self.vars["distance"] = abs(entry - stop)

    def filters(self) -> list:
        return [self.can_afford_a_position]

    def can_afford_a_position(self) -> bool:
        return self.vars["qty"] > 0

    def on_open_position(self, order) -> None:
        # From the price really paid, and only now: spot has nothing to sell before.
        entry, distance = self.position.entry_price, self.vars["distance"]
        side = 1 if self.is_long else -1
        stop, target = entry - side * distance, entry + side * distance * self.hp["reward"]
        if stop > 0:
            self.stop_loss = self.position.qty, stop
        if target > 0:
            self.take_profit = self.position.qty, target

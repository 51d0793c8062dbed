import math

import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy, cached

ATR_PERIOD = 14
RSI_PERIOD = 14


class MeanReversion(Strategy):
    """Fade exaggerations: limit orders beyond the Bollinger bands when RSI is extreme, out at the mean.

    Idea: after a fast move without news, the price tends to come back to its average.
    Entry: the close is outside a Bollinger band and RSI beyond its limit; a limit order ``offset_atr`` ATR
        further out, withdrawn when it has not filled within ``patience`` candles.
    Exit: take-profit at the middle band, moved along with it; a stop ``stop_atr`` ATR from the entry; at the
        market after ``max_candles`` candles.
    Risk: ``exposure`` of the available margin (times the leverage) per position, bounded by the stop.
    Fails: in strong trends, which stay extreme for long; many small wins, then one large loss.
    Spot trades long only.
    """

    def hyperparameters(self):
        return [
            {"name": "period", "type": int, "min": 10, "max": 60, "default": 20},
            {"name": "width", "type": float, "min": 1.0, "max": 3.5, "step": 0.25, "default": 2.0},
            {"name": "rsi_limit", "type": int, "min": 10, "max": 45, "default": 32},
            {"name": "offset_atr", "type": float, "min": 0.0, "max": 2.0, "step": 0.25, "default": 0.25},
            {"name": "patience", "type": int, "min": 1, "max": 10, "default": 3},
            {"name": "stop_atr", "type": float, "min": 0.5, "max": 6.0, "step": 0.5, "default": 3.0},
            {"name": "max_candles", "type": int, "min": 4, "max": 96, "default": 36},
            {"name": "exposure", "type": float, "min": 0.05, "max": 0.95, "step": 0.05, "default": 0.4},
        ]

    @property
    @cached
    def bands(self):
        width = self.hp["width"]
        return ta.bollinger_bands(self.candles, self.hp["period"], devup=width, devdn=width)

    @property
    @cached
    def rsi(self) -> float:
        return ta.rsi(self.candles, RSI_PERIOD)

    @property
    @cached
    def atr(self) -> float:
        return ta.atr(self.candles, ATR_PERIOD)

    @property
    def is_ready(self) -> bool:
        enough = len(self.candles) > max(self.hp["period"], 3 * ATR_PERIOD)
        return enough and math.isfinite(self.atr) and self.atr > 0

    def should_long(self) -> bool:
        return self.is_ready and self.price < self.bands.lowerband and self.rsi < self.hp["rsi_limit"]

    def should_short(self) -> bool:
        if self.is_spot_trading or not self.is_ready:
            return False
        return self.price > self.bands.upperband and self.rsi > 100 - self.hp["rsi_limit"]

    def go_long(self) -> None:
        entry = self.price - self.hp["offset_atr"] * self.atr
        self.plan(entry)
        self.buy = self.vars["qty"], entry

    def go_short(self) -> None:
        entry = self.price + self.hp["offset_atr"] * self.atr
        self.plan(entry)
        self.sell = self.vars["qty"], entry

    def plan(self, entry: float) -> None:
        """Fix size, stop and target when the order is placed; it may fill in the middle of a candle."""
        margin = self.leveraged_available_margin * self.hp["exposure"]
        self.vars["qty"] = utils.size_to_qty(margin, entry, precision=6, fee_rate=self.fee_rate)
        self.vars["stop_distance"] = self.hp["stop_atr"] * self.atr
        self.vars["target"] = self.bands.middleband
        self.vars["ordered_at"] = self.index

    def filters(self) -> list:
        return [self.can_afford_a_position]

    def can_afford_a_position(self) -> bool:
        return self.vars["qty"] > 0

    def should_cancel_entry(self) -> bool:
        return self.index - self.vars["ordered_at"] >= self.hp["patience"]

    def on_open_position(self, order) -> None:
        self.vars["opened_at"] = self.index
        side = 1 if self.is_long else -1
        stop = self.position.entry_price - side * self.vars["stop_distance"]
        if stop > 0:
            self.stop_loss = self.position.qty, stop
        self.take_profit = self.position.qty, self.vars["target"]

    def update_position(self) -> None:
        target = self.bands.middleband
        at_target = self.price >= target if self.is_long else self.price <= target
        expired = self.index - self.vars["opened_at"] >= self.hp["max_candles"]
        # Closing through the take-profit replaces the limit order. liquidate() would leave it standing after
        # a loss, and a spot account cannot sell the same coins twice.
        self.take_profit = self.position.qty, (self.price if at_target or expired else target)

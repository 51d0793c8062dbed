# ruff: noqa: N999 - a strategy folder is named as its class
import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy


class SharedRotation(Strategy):
    """Two routes that take turns: the one stronger than a third symbol, while the other is flat.

    Reads a larger timeframe of its own symbol and another timeframe of a symbol nobody trades, both as data
    routes; the routes agree through ``shared_vars``.
    """

    def hyperparameters(self):
        return [
            {"name": "fast", "type": int, "min": 3, "max": 20, "default": 8},
            {"name": "slow", "type": int, "min": 10, "max": 60, "default": 24},
            {"name": "size", "type": float, "min": 0.1, "max": 0.9, "default": 0.6},
        ]

    def before(self):
        self.shared_vars.setdefault("holder", None)
        self.shared_vars.setdefault("strength", {})[self.symbol] = self.strength(self.candles)

    def strength(self, candles):
        return ta.ema(candles, self.hp["fast"]) / ta.ema(candles, self.hp["slow"]) - 1

    @property
    def market(self):
        return self.strength(self.get_candles(self.exchange, "SOL-USDT", "30m"))

    @property
    def larger_trend(self):
        candles = self.get_candles(self.exchange, self.symbol, "4h")
        return ta.sma(candles, 5) - ta.sma(candles, 15)

    @property
    def is_free(self):
        return self.shared_vars["holder"] in (None, self.symbol)

    def should_long(self):
        return self.is_free and self.larger_trend > 0 and self.strength(self.candles) > max(0, self.market)

    def should_short(self):
        if self.is_spot_trading:
            return False
        return self.is_free and self.larger_trend < 0 and self.strength(self.candles) < min(0, self.market)

    @property
    def qty(self):
        return utils.size_to_qty(self.available_margin * self.hp["size"], self.price, fee_rate=self.fee_rate)

    def go_long(self):
        self.shared_vars["holder"] = self.symbol
        self.buy = self.qty, self.price

    def go_short(self):
        self.shared_vars["holder"] = self.symbol
        self.sell = self.qty, self.price

    def update_position(self):
        own = self.shared_vars["strength"][self.symbol]
        if (self.is_long and own < 0) or (self.is_short and own > 0):
            self.liquidate()

    def on_close_position(self, order, closed_trade):
        self.shared_vars["holder"] = None
        self.shared_vars["strength"].clear()

    def on_route_open_position(self, strategy):
        self.log(f"{strategy.symbol} was opened while {self.symbol} looked on")

    def terminate(self):
        if self.position.is_open:
            self.liquidate()

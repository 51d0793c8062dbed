# ruff: noqa: N999 - a strategy folder is named as its class
import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy


class LadderEntries(Strategy):
    """A ladder of a market, a limit and a stop entry, two partial take profits, and a stop that moves.

    Every kind of order and every ``on_`` hook has its effect on the result: targets follow the average entry
    as the position grows, the stop goes to break-even once it shrinks, what has not filled is withdrawn
    after a while.
    """

    def hyperparameters(self):
        return [
            {"name": "period", "type": int, "min": 5, "max": 50, "default": 14},
            {"name": "step", "type": float, "min": 0.1, "max": 2.0, "default": 0.5},
            {"name": "target", "type": float, "min": 0.5, "max": 5.0, "default": 1.5},
            {"name": "with_market", "type": bool, "default": True},
            {"name": "patience", "type": "categorical", "options": [2, 4, 8], "default": 4},
        ]

    def __init__(self):
        super().__init__()
        self.vars["withdrawn"] = 0
        self.vars["closed"] = 0

    def before(self):
        self.vars["atr"] = ta.atr(self.candles, self.hp["period"])

    def after(self):
        self.vars["last_price"] = self.price

    def is_below_average(self):
        return self.price < ta.sma(self.candles, self.hp["period"])

    def should_long(self):
        return self.is_below_average()

    def should_short(self):
        return not self.is_spot_trading and not self.is_below_average()

    def rungs(self, side):
        step = self.vars["atr"] * self.hp["step"]
        share = 0.15 if self.vars["closed"] % 2 else 0.2
        qty = utils.size_to_qty(self.available_margin * share, self.price, fee_rate=self.fee_rate)
        self.vars["ordered_at"] = self.index
        prices = [self.price - side * step, self.price + side * 2 * step]
        if self.hp["with_market"]:
            prices.insert(0, self.price)
        return [(qty, price) for price in prices]

    def go_long(self):
        self.buy = self.rungs(1)

    def go_short(self):
        self.sell = self.rungs(-1)
        if self.vars["withdrawn"] % 2:
            # Exits fixed with the entry, as futures allow.
            total = sum(qty for qty, _ in self.sell)
            self.stop_loss = total, self.price + 6 * self.vars["atr"]

    def filters(self):
        return [self.is_not_too_calm]

    def is_not_too_calm(self):
        return self.vars["atr"] > 0.0005 * self.price

    def should_cancel_entry(self):
        return self.index - self.vars["ordered_at"] >= self.hp["patience"]

    def on_cancel(self):
        self.vars["withdrawn"] += 1

    @property
    def side(self):
        return 1 if self.is_long else -1

    def set_exits(self, stop_distance):
        entry, qty = self.position.entry_price, abs(self.position.qty)
        reach = self.side * self.vars["atr"] * self.hp["target"]
        self.stop_loss = qty, entry - self.side * stop_distance
        half = qty / 2
        self.take_profit = [(half, entry + reach), (qty - half, entry + 2 * reach)]

    def on_open_position(self, order):
        self.set_exits(4 * self.vars["atr"])

    def on_increased_position(self, order):
        self.set_exits(3 * self.vars["atr"])

    def on_reduced_position(self, order):
        if self.position.is_open:
            qty, entry = abs(self.position.qty), self.position.entry_price
            near = self.side * self.vars["atr"] * 0.2
            self.stop_loss = (
                qty,
                (entry + near if (self.price - entry) * self.side > abs(near) else entry - 5 * near),
            )
            self.take_profit = qty, entry + self.side * self.vars["atr"] * self.hp["target"] * 2

    def on_close_position(self, order, closed_trade):
        self.vars["closed"] += 1
        self.log(f"closed {closed_trade.type} with {closed_trade.pnl}")

    def update_position(self):
        if self.index - self.vars["ordered_at"] > 30:
            self.take_profit = abs(self.position.qty), self.price

    def terminate(self):
        self.log(f"withdrawn {self.vars['withdrawn']}, closed {self.vars['closed']}")

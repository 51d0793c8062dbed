"""What goes wrong at exchanges, to order.

A fault takes the answer of a good day and spoils it. The queue says which request it is for.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from exchange_server.bars import forming
from exchange_server.exchange import Exchange
from exchange_server.wire import (
    HIGH,
    LOW,
    VOLUME,
    Candles,
    Page,
    Reply,
    Request,
    as_html,
    as_json,
)

When = Callable[[Request], bool]


@dataclass(frozen=True)
class Fault:
    """Spoils one answer. ``pages_only`` leaves answers without candles alone."""

    name: str
    spoil: Callable[[Reply, Exchange], Reply]
    pages_only: bool = False


class FaultQueue:
    """The faults that are to come, in the order they were added; each request meets at most one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order] = []

    def add(
        self,
        fault: Fault,
        *,
        skip: int = 0,
        times: int = 1,
        when: When | None = None,
        host: str | None = None,
    ) -> None:
        """Order ``fault`` for ``times`` requests in a row, after ``skip`` requests of the same sort.

        ``when`` and ``host`` say what sort; without them every request counts.
        """
        with self._lock:
            self._orders.append(_Order(fault, skip, times, when, host))

    @property
    def pending(self) -> list[str]:
        """The names of the faults that have not come up yet, as often as they still will."""
        with self._lock:
            return [order.fault.name for order in self._orders for _ in range(order.times)]

    def clear(self) -> None:
        """Forget the faults that have not come up."""
        with self._lock:
            self._orders.clear()

    def apply(self, request: Request, reply: Reply, exchange: Exchange) -> tuple[Reply, str | None]:
        """The reply as it goes out, and the name of the fault in it."""
        with self._lock:
            chosen = next((order for order in self._orders if order.comes_up(request, reply)), None)
        if chosen is None:
            return reply, None
        return chosen.fault.spoil(reply, exchange), chosen.fault.name


@dataclass
class _Order:
    fault: Fault
    skip: int
    times: int
    when: When | None
    host: str | None

    def comes_up(self, request: Request, reply: Reply) -> bool:
        if not self.times or not self._concerns(request, reply):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    def _concerns(self, request: Request, reply: Reply) -> bool:
        return (
            (isinstance(reply, Page) or not self.fault.pages_only)
            and (self.host is None or self.host == request.host)
            and (self.when is None or self.when(request))
        )


def for_candles(request: Request) -> bool:
    """Requests that a page of candles answers."""
    return request.kind == "candles"


def refused(status: int, retry_after: float | str | None = None) -> Fault:
    """A status with the body the exchange has for it: 429, 418, 403, 451, 500, 502, 503."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def spoil(_reply: Reply, exchange: Exchange) -> Reply:
        return replace(exchange.refusal(status), headers=headers)

    return Fault(str(status), spoil)


def cut() -> Fault:
    """The connection breaks in the middle of the body."""
    return Fault("cut", lambda reply, _: replace(reply.answer(), cut=True))


def reset() -> Fault:
    """The connection is reset instead of answered."""
    return Fault("reset", lambda reply, _: replace(reply.answer(), reset=True))


def slow(seconds: float) -> Fault:
    """The answer is good, but late. It is not waited for when the server stops."""
    return Fault("slow", lambda reply, _: replace(reply.answer(), wait=seconds))


def html(status: int = 200) -> Fault:
    """A page for people where numbers are expected: a captive portal, a challenge, a CDN."""
    return Fault("html", lambda _reply, _: as_html("Checking your browser before accessing", status))


def body(content: object, status: int = 200) -> Fault:
    """Any JSON instead of the answer."""
    return Fault("body", lambda _reply, _: as_json(content, status))


def bybit_limited(reset_ms: int | None = None) -> Fault:
    """Bybit's rate limit, which has status 200; ``reset_ms`` is when it says the limit ends."""
    content = {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}}
    headers = {} if reset_ms is None else {"X-Bapi-Limit-Reset-Timestamp": str(reset_ms)}
    return Fault("bybit 10006", lambda _reply, _: replace(as_json(content), headers=headers))


def kucoin_limited() -> Fault:
    """KuCoin's rate limit as its gateway words it, with status 200."""
    return body({"code": "429000", "msg": "Too Many Requests"})


def kraken_limited() -> Fault:
    return body({"error": ["EAPI:Rate limit exceeded"]})


def kraken_maintenance() -> Fault:
    return body({"error": ["EService:Unavailable"]})


def bitfinex_maintenance() -> Fault:
    return body(["error", 20060, "temporarily_unavailable"], 503)


def bybit_maintenance() -> Fault:
    return body({"retCode": 10016, "retMsg": "Server error.", "result": {}, "retExtInfo": {}})


def apex_maintenance() -> Fault:
    return body({"code": 3, "msg": "system is in maintenance", "timeCost": 1000})


def empty_page() -> Fault:
    return _rows("empty page", lambda rows: rows[:0])


def duplicate_rows() -> Fault:
    """Some rows come twice."""
    return _rows("duplicate rows", lambda rows: np.repeat(rows, np.arange(len(rows)) % 3 // 2 + 1, axis=0))


def out_of_order() -> Fault:
    """The two halves of the page are swapped."""
    return _rows("out of order", lambda rows: np.roll(rows, len(rows) // 2, axis=0))


def unfinished_last() -> Fault:
    """The last row is as it was a quarter into its minute."""
    return _rows("unfinished last", _with_last(partial(forming, share=0.25)))


def rewritten_volume() -> Fault:
    """The page repeats one row with another volume: two different candles of one minute."""
    return _rows("rewritten volume", _contradict)


def high_below_low() -> Fault:
    return _rows("high below low", _with_last(_upside_down))


def not_a_number() -> Fault:
    return _rows("not a number", _with_last(lambda row: np.where(np.arange(6) == HIGH, np.nan, row)))


def negative_volume() -> Fault:
    return _rows("negative volume", _with_last(lambda row: np.where(np.arange(6) == VOLUME, -1.0, row)))


def _rows(name: str, change: Callable[[Candles], Candles]) -> Fault:
    def spoil(reply: Reply, _: Exchange) -> Reply:
        assert isinstance(reply, Page)
        return replace(reply, candles=change(reply.candles)) if len(reply.candles) else reply

    return Fault(name, spoil, pages_only=True)


def _with_last(change: Callable[[Candles], Candles]) -> Callable[[Candles], Candles]:
    return lambda rows: np.vstack([rows[:-1], change(rows[-1])])


def _upside_down(row: Candles) -> Candles:
    turned = row.copy()
    turned[HIGH], turned[LOW] = row[LOW], row[HIGH] + 1
    return turned


def _contradict(rows: Candles) -> Candles:
    other = rows[-1:].copy()
    other[:, VOLUME] += 1
    return np.vstack([rows, other])

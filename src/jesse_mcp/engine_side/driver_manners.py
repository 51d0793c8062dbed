"""What Jesse's drivers need around them to be relied on. Each entry is a peculiarity its tests pin.

- Several call ``requests`` without a timeout, and some never look at the status of an answer.
- Some keep retrying inside their session, up to hours on a ``Retry-After``, without a sign of life.
- Apex answers a window without an end with its newest candles; Lighter and Kraken futures report errors in a
  body with status 200; Kraken spot leaves out the minute it is asked from.
- Gate refuses to be asked for more than its latest 10,000 minutes, instead of answering with what it has.
"""

import sys
import time
from email.utils import parsedate_to_datetime
from typing import Any

import jesse.config
import requests
from exchange_failures import ExchangeFailure
from urllib3.util.retry import Retry

_TIMEOUT_SECONDS = 30
_KRAKEN_SPOT = "Kraken Pro Spot"
_MINUTE_MS = 60_000
# Minutes; less than the 10,000 there are, since time passes on the way.
_SERVED = {"Gate Spot": 9_990, "Gate USDT Perpetual": 9_990}


class ExchangeClock:
    """The time at the exchange, from the header ``Date`` of its answers.

    ``latest_ms`` is when the last answer was made, epoch milliseconds in whole seconds; ``None`` before the
    first, or when the last one does not say.
    """

    def __init__(self) -> None:
        self.latest_ms: int | None = None
        self._read_at = 0.0

    def read(self, response: Any, *_: Any, **__: Any) -> Any:
        """Note the time of an answer, and hand it on."""
        self._read_at = time.monotonic()
        try:
            moment = parsedate_to_datetime(response.headers.get("Date") or "")
        except ValueError:
            self.latest_ms = None
        else:
            self.latest_ms = int(moment.timestamp()) * 1000
        return response

    def now_ms(self) -> int | None:
        """What it is there now: the middle of the second of the last answer, and what has passed since."""
        if self.latest_ms is None:
            return None
        return self.latest_ms + 500 + int((time.monotonic() - self._read_at) * 1000)


class WellMannered:
    """Stands in for the ``requests`` module in a driver's module."""

    def __init__(self, driver: Any, clock: ExchangeClock) -> None:
        self._driver = driver
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(requests, name)

    def get(self, url: str, params: dict[str, Any] | None = None, **options: Any) -> Any:
        options.setdefault("timeout", _TIMEOUT_SECONDS)
        answer = requests.request("get", url, params=self._bounded(url, params), **options)  # noqa: S113
        return self._checked(answer)

    def post(self, url: str, **options: Any) -> Any:
        options.setdefault("timeout", _TIMEOUT_SECONDS)
        return self._checked(requests.request("post", url, **options))  # noqa: S113 - it is among the options

    def _bounded(self, url: str, params: dict[str, Any] | None) -> dict[str, Any] | None:
        if params is None or "apex" not in url or not url.endswith("/klines") or "end" in params:
            return params
        # The end is part of the window, and one candle too many would push out the first.
        return {**params, "end": params["start"] + (self._driver.count - 1) * 60}

    def _checked(self, response: Any) -> Any:
        self._clock.read(response)
        self._driver.validate_response(response)
        refuse_error_body(response)
        return response


def refuse_error_body(response: Any, *_: Any, **__: Any) -> Any:
    """Raise for an error that comes with status 200.

    Raises:
        ExchangeFailure: with what the body says.
    """
    if response.status_code != 200 or not ("lighter" in response.url or "kraken" in response.url):
        return response
    try:
        body = response.json()
    except ValueError:
        # What is no JSON is the driver's to complain about.
        return response
    if not isinstance(body, dict):
        return response
    says = body.get("code") not in (None, 200) or body.get("result") == "error" or body.get("errors")
    if says and "c" not in body:
        text = str(body.get("message") or body.get("errors") or body)
        if "limit" in text.lower() or "too many" in text.lower():
            raise ExchangeFailure("rate_limited", text, may_pass=True)
        raise ExchangeFailure("answer_invalid", text, may_pass=True)
    return response


def teach(driver: Any) -> ExchangeClock:
    """Change how ``driver`` talks to its exchange, for this process; what time its answers are of."""
    clock = ExchangeClock()
    # Jesse's clock stands still outside of imports, and drivers ask up to it.
    jesse.config.config["app"]["trading_mode"] = "candles"
    for module in {
        sys.modules[kind.__module__] for kind in type(driver).__mro__ if "drivers" in kind.__module__
    }:
        if getattr(module, "requests", None) is requests:
            module.requests = WellMannered(driver, clock)  # type: ignore[attr-defined]
    session = getattr(driver, "session", None)
    if session is None:
        return clock
    session.hooks["response"] += [clock.read, refuse_error_body]
    for adapter in session.adapters.values():
        adapter.max_retries = Retry(total=0, read=False, respect_retry_after_header=False)
    return clock


def asked_from(driver: Any, start_ms: int) -> int:
    """What to ask ``driver`` for to get candles from ``start_ms`` on."""
    return start_ms - _MINUTE_MS if driver.name == _KRAKEN_SPOT else start_ms


def served_from(driver: Any, now_ms: int) -> int:
    """The first minute (epoch ms) that ``driver`` may be asked for at ``now_ms``; 0 for any."""
    served = _SERVED.get(driver.name)
    return 0 if served is None else (now_ms // _MINUTE_MS - served) * _MINUTE_MS

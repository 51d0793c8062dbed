"""What passes between the proxy, the exchanges and the faults."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

#: Rows of Jesse's order: timestamp ms, open, close, high, low, volume.
Candles = npt.NDArray[np.float64]

TIMESTAMP, OPEN, CLOSE, HIGH, LOW, VOLUME = range(6)
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Request:
    """One request as it came through the tunnel; ``at`` is the server's monotonic time.

    ``kind`` is ``candles`` when a page of candles answers it, ``other`` for lists and refusals.
    """

    host: str
    method: str
    path: str
    params: Mapping[str, str]
    body: Any = None
    at: float = 0.0
    kind: str = "other"

    def number(self, name: str, default: int | None = None) -> int:
        """A numeric parameter."""
        if name not in self.params and default is not None:
            return default
        return int(self.params[name])


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    ``cut`` ends the connection in the middle of the body, ``reset`` resets it before the first byte; ``wait``
    holds the answer back for that many seconds, or until the server stops.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut: bool = False
    reset: bool = False
    wait: float = 0.0

    def answer(self) -> "Answer":
        return self


@dataclass(frozen=True)
class Page:
    """Candles on their way out, oldest first; ``encode`` brings them into the exchange's form."""

    candles: Candles
    encode: Callable[[Candles], object]
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> Answer:
        return replace(as_json(self.encode(self.candles)), headers=self.headers)


Reply = Page | Answer


def as_json(content: object, status: int = 200) -> Answer:
    return Answer(json.dumps(content).encode(), status)


def as_html(title: str, status: int) -> Answer:
    """The page a content delivery network or a load balancer puts before an exchange."""
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>"
    return Answer(page.encode(), status, content_type="text/html")


def text(number: float) -> str:
    """A number as exchanges write it in strings: no exponent, and the same number when read back."""
    return np.format_float_positional(number, trim="0")

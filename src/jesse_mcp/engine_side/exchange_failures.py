"""What went wrong between a driver and its exchange, from whatever the driver raised.

Jesse's drivers fold the status code into the text of plain exceptions; the text is all there is to go by.
"""

import re
from typing import Any

import requests
from jesse import exceptions
from jesse.services.historical_data import errors

_MESSAGE_LIMIT = 500
_STATUS = re.compile(r"\bERROR:? (\d{3})\b|too many (\d{3}) error responses")
_PAIR = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
_WAIT = re.compile(r"asks to wait (\d+(?:\.\d+)?) seconds")


class ExchangeFailure(Exception):  # noqa: N818 - it is a description first
    """A classified failure; ``may_pass`` says whether asking again can help."""

    def __init__(
        self, kind: str, message: str, *, may_pass: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message[:_MESSAGE_LIMIT]
        self.may_pass = may_pass
        self.retry_after = retry_after

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "message": self.message, "retry_after": self.retry_after}


def classify(error: BaseException) -> ExchangeFailure:
    """The failure behind ``error``, looking through what wraps it."""
    if isinstance(error, ExchangeFailure):
        return error
    if isinstance(error, AttributeError) and error.__context__ is not None:
        # Bitfinex's driver stumbles over its own retrying; what it wanted to retry is the failure.
        return classify(error.__context__)
    text = f"{type(error).__name__}: {error}"
    for judge in (_by_type, _by_status, _by_text):
        failure = judge(error, text)
        if failure is not None:
            return failure
    return ExchangeFailure("answer_invalid", text)


def _by_type(error: BaseException, text: str) -> ExchangeFailure | None:
    if isinstance(error, errors.ProviderRateLimitError):
        return _limited(text)
    symbol_errors = (
        errors.ProviderSymbolNotFoundError,
        exceptions.SymbolNotFound,
        exceptions.InvalidSymbol,
    )
    if isinstance(error, symbol_errors):
        return ExchangeFailure("symbol_unknown", text)
    if isinstance(error, exceptions.ExchangeInMaintenance):
        return ExchangeFailure("unavailable", text, may_pass=True)
    if isinstance(error, requests.exceptions.Timeout):
        return ExchangeFailure("unreachable", text, may_pass=True)
    return None


def _by_status(_error: BaseException, text: str) -> ExchangeFailure | None:
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else 0
    if status in (418, 429):
        return _limited(text)
    if status in (401, 403, 451):
        return ExchangeFailure("blocked", text)
    if status // 100 == 5:
        return ExchangeFailure("unavailable", text, may_pass=True)
    if status == 404:
        return ExchangeFailure("symbol_unknown", text)
    return None


def _by_text(error: BaseException, text: str) -> ExchangeFailure | None:
    lowered = text.lower()
    if "too long ago" in lowered:
        return ExchangeFailure("too_old", text)
    if "restricted from your location" in lowered:
        return ExchangeFailure("blocked", text)
    if "rate limit" in lowered:
        return _limited(text)
    return _by_library(error, text) or _unknown_symbol(error, text)


def _by_library(error: BaseException, text: str) -> ExchangeFailure | None:
    network = requests.exceptions
    if isinstance(error, errors.ProviderUnavailableError):
        return ExchangeFailure("unavailable", text, may_pass=True)
    if isinstance(error, network.JSONDecodeError):
        return ExchangeFailure("answer_invalid", text, may_pass=True)
    if isinstance(error, network.ConnectionError | network.ChunkedEncodingError | ConnectionError):
        return ExchangeFailure("unreachable", text, may_pass=True)
    return None


def _unknown_symbol(error: BaseException, text: str) -> ExchangeFailure | None:
    if isinstance(error, ValueError) and "symbol" in text.lower():
        return ExchangeFailure("symbol_unknown", text)
    if isinstance(error, KeyError) and _PAIR.fullmatch(str(error).strip("'")):
        return ExchangeFailure("symbol_unknown", f"the exchange does not list {error}")
    return None


def _limited(text: str) -> ExchangeFailure:
    wait = _WAIT.search(text)
    return ExchangeFailure(
        "rate_limited", text, may_pass="418" not in text, retry_after=float(wait[1]) if wait else None
    )

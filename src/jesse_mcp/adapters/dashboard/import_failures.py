"""Why an import of Jesse's failed, from the one line of text it leaves behind."""

import re

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_GOES_ON = "call again: it goes on where it stopped"

#: The first pattern found in the text decides. Jesse wraps the same trouble in different exceptions, so a
#: status or the words of a library say more than the name in front.
_RULES: tuple[tuple[str, ErrorCode, str], ...] = (
    (
        r"psycopg2|OperationalError|InterfaceError",
        ErrorCode.JESSE_DATABASE,
        "Jesse has lost its PostgreSQL: start that, then restart Jesse",
    ),
    (
        r"not a supported historical provider",
        ErrorCode.CAPABILITY_MISSING,
        "import from a file with path=..., or use an exchange that Jesse can fetch from",
    ),
    (
        r"date is not accepted|start_date must",
        ErrorCode.INVALID_ARGUMENT,
        "Jesse imports from yesterday or earlier, up to now: give an earlier start_date",
    ),
    (
        r"ERROR:? 4(18|29)\b|too many 4(18|29) error|RateLimitError|rate limit",
        ErrorCode.RATE_LIMITED,
        f"wait, then {_GOES_ON}; other programs on Jesse's machine count too",
    ),
    (
        r"ERROR:? 4(01|03|51)\b|restricted from your location",
        ErrorCode.EXCHANGE_BLOCKED,
        "the exchange refuses the address or country of Jesse's machine: use another one, or a proxy there",
    ),
    (
        r"ERROR:? 5\d\d\b|too many 5\d\d error|Maintenance",
        ErrorCode.EXCHANGE_UNAVAILABLE,
        f"the exchange is down: later, {_GOES_ON}",
    ),
    (
        r"SymbolNotFound|InvalidSymbol|Check the symbol|[Ii]nvalid symbol|ERROR:? 404\b",
        ErrorCode.SYMBOL_UNKNOWN,
        "check the symbol and its quote currency on this exchange (BASE-QUOTE)",
    ),
    (
        r"CandleNotFoundInExchange",
        ErrorCode.CANDLES_MISSING,
        "the exchange has none from that day on: check the symbol, or give an earlier start_date",
    ),
    (
        r"NameResolution|getaddrinfo",
        ErrorCode.EXCHANGE_UNREACHABLE,
        f"Jesse's machine cannot resolve the exchange's name: check its DNS, then {_GOES_ON}",
    ),
    (
        r"Max retries|ProxyError|ConnectionError|ChunkedEncoding|Connection broken|Timeout|Remote end closed",
        ErrorCode.EXCHANGE_UNREACHABLE,
        f"check the network of Jesse's machine, then {_GOES_ON}",
    ),
    (
        r"SchemaError|ValidationError|JSONDecodeError|PaginationError",
        ErrorCode.EXCHANGE_ANSWER_INVALID,
        "nothing of the page was stored; call again, and report it if it repeats",
    ),
    # Drivers put what an exchange says to a 400 into an exception without a name of its own.
    (
        r"(RequestError|ValueError).*symbol",
        ErrorCode.SYMBOL_UNKNOWN,
        "check the symbol and its quote currency on this exchange (BASE-QUOTE)",
    ),
)
_OTHERWISE = (ErrorCode.JESSE_FAILED, "the traceback in details is Jesse's own; its terminal may say more")
_SHOWN = 600
_TRACEBACK_SHOWN = 4000


def import_failure(what: str, text: str, traceback: str | None = None) -> ResearchError:
    """The error for an import of ``what`` that Jesse gave up with ``text``."""
    found = ((code, hint) for pattern, code, hint in _RULES if re.search(pattern, text))
    code, hint = next(found, _OTHERWISE)
    details: dict[str, object] = {}
    wait = re.search(r"asks to wait (\d+(?:\.\d+)?) seconds", text)
    if wait:
        details["retry_after_seconds"] = float(wait[1])
    if code is ErrorCode.JESSE_FAILED and traceback:
        details["traceback"] = traceback[-_TRACEBACK_SHOWN:]
    return ResearchError(code, f"{what}: {text[:_SHOWN]}", hint=hint, details=details)

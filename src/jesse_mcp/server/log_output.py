"""What goes to standard error, and to a file beside it."""

import json
import logging
import re
import sys
from collections.abc import Callable
from logging.handlers import QueueHandler

from jesse_mcp.domain.call_context import current_caller, current_job, current_request
from jesse_mcp.domain.identity import iso_utc
from jesse_mcp.server.rotating_file import BackgroundFile
from jesse_mcp.server.secret_masking import SecretMask, secrets_of
from jesse_mcp.settings import Settings
from jesse_mcp.unknown_variables import unknown_variables

logger = logging.getLogger("jesse_mcp.settings")

#: Loggers that write a line for every request.
QUIETENED = ("httpx2", "mcp.server.streamable_http")
#: Loggers that write, at DEBUG, all that is sent and answered: strategies, and addresses that let whoever
#: knows them write there.
DISCREET = ("fastmcp", "mcp", "sse_starlette")
#: What ends a line or moves a terminal, except the line ends of tracebacks.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def set_up_logging(settings: Settings) -> Callable[[], None]:
    """One format for everything that logs, and no secret; standard output belongs to the protocol.

    Returns:
        What writes the rest of the file in the end; it blocks.
    """
    formatter = _formatter(settings)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handlers = [handler]
    file = None
    if settings.log_file is not None:
        # Lines are made where they are logged, which knows the request, and written in a thread.
        file = BackgroundFile(settings.log_file)
        queued = QueueHandler(file.lines)
        queued.setFormatter(formatter)
        handlers.append(queued)
        file.start()
    logging.basicConfig(level=settings.log_level, handlers=handlers)
    framework = logging.getLogger("fastmcp")
    framework.handlers.clear()
    framework.propagate = True
    for name in DISCREET:
        logging.getLogger(name).setLevel(logging.INFO if settings.log_level == "DEBUG" else logging.NOTSET)
    if settings.log_level != "DEBUG":
        for name in QUIETENED:
            logging.getLogger(name).setLevel(logging.WARNING)
    return _nothing if file is None else file.close


def warn_of_unknown_variables() -> None:
    """What somebody has set and nothing reads."""
    for sentence in unknown_variables():
        logger.warning("%s", sentence)


def _nothing() -> None:
    pass


def _formatter(settings: Settings) -> logging.Formatter:
    mask = SecretMask(secrets_of(settings))
    return JsonFormatter(mask) if settings.log_format == "json" else SecretFreeFormatter(mask)


class SecretFreeFormatter(logging.Formatter):
    """A line of text, with stars in place of secrets; lines of a traceback are indented below it.

    Some of Jesse's routes want the token in the address, and the libraries that fetch and connect log
    addresses. A message may hold what a client has sent: no line end in it begins a line of the log.
    """

    def __init__(self, mask: SecretMask) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROLS.sub(_spelled, self._mask(super().format(record))).replace("\n", "\n\t")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's)
        return super().formatMessage(record).replace("\n", "\\n")


def _spelled(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


class JsonFormatter(logging.Formatter):
    """A JSON object on one line: when, how bad, who says it, what, and what it belongs to."""

    def __init__(self, mask: SecretMask) -> None:
        super().__init__("%(message)s")
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        # Of a request whose sender is not known yet, nobody's name.
        caller = current_caller.get(None)
        known = {
            "time": iso_utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": self._mask(record.getMessage()),
            "request_id": current_request.get(),
            "client": caller.name if caller else None,
            "job_id": getattr(record, "job_id", None) or current_job.get(),
            "run_id": getattr(record, "run_id", None),
            "exception": self._mask(self.formatException(record.exc_info)) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in known.items() if value is not None})

"""The one error type that crosses layers; the server turns it into an MCP error."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable identifiers an agent can branch on."""

    INVALID_ARGUMENT = "invalid_argument"
    STRATEGY_NOT_FOUND = "strategy_not_found"
    STRATEGY_EXISTS = "strategy_exists"
    STRATEGY_READ_ONLY = "strategy_read_only"
    STRATEGY_INVALID = "strategy_invalid"
    STRATEGY_RAISED = "strategy_raised"
    CANDLES_MISSING = "candles_missing"
    CANDLES_INVALID = "candles_invalid"
    SERIES_NOT_FOUND = "series_not_found"
    SYMBOL_UNKNOWN = "symbol_unknown"
    RATE_LIMITED = "rate_limited"
    FORBIDDEN = "forbidden"
    RESULT_TOO_LARGE = "result_too_large"
    EXCHANGE_BLOCKED = "exchange_blocked"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    EXCHANGE_UNREACHABLE = "exchange_unreachable"
    EXCHANGE_ANSWER_INVALID = "exchange_answer_invalid"
    RUN_NOT_FOUND = "run_not_found"
    JOB_NOT_FOUND = "job_not_found"
    JOB_NOT_ACTIVE = "job_not_active"
    JOB_CANCELLED = "job_cancelled"
    JOB_LOST = "job_lost"
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_EXISTS = "session_exists"
    SESSION_NOT_ACTIVE = "session_not_active"
    RUN_TIMEOUT = "run_timeout"
    MEMORY_LIMIT = "memory_limit"
    WORKER_CRASHED = "worker_crashed"
    RUN_REJECTED = "run_rejected"
    ENGINE_NOT_INSTALLED = "engine_not_installed"
    ENGINE_FAILED = "engine_failed"
    CAPABILITY_MISSING = "capability_missing"
    JESSE_UNREACHABLE = "jesse_unreachable"
    JESSE_UNAUTHORIZED = "jesse_unauthorized"
    JESSE_UNRECOGNISED = "jesse_unrecognised"
    JESSE_UNSUPPORTED = "jesse_unsupported"
    JESSE_REJECTED = "jesse_rejected"
    JESSE_DATABASE = "jesse_database"
    JESSE_FAILED = "jesse_failed"
    RAY_UNREACHABLE = "ray_unreachable"
    RAY_UNUSABLE = "ray_unusable"
    STORAGE_FAILED = "storage_failed"
    INTERNAL_ERROR = "internal_error"


class ResearchError(Exception):
    """An expected failure that teaches: what was wrong and which call puts it right.

    Args:
        code: stable identifier.
        message: what happened, with the value that was received.
        hint: the next call to make, or ``None`` where there is none.
        details: JSON-compatible facts for programs (missing ranges, line numbers, tracebacks).
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        hint: str | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details or {}

    @property
    def lasting(self) -> bool:
        """Whether doing the same again must fail again, whatever becomes of disk, network and database."""
        return self.details.get("lasting") is True

    @property
    def away(self) -> bool:
        """Whether a database could not be reached, which a restart of it explains."""
        return self.details.get("away") is True

    def to_dict(self) -> dict[str, object]:
        """The error as one JSON object: ``code``, ``message``, ``hint``, ``details``."""
        return {
            "code": self.code.value,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> "ResearchError":
        """Inverse of :meth:`to_dict`."""
        hint, details = data.get("hint"), data.get("details")
        return cls(
            ErrorCode(str(data["code"])),
            str(data["message"]),
            None if hint is None else str(hint),
            dict(details) if isinstance(details, dict) else None,
        )

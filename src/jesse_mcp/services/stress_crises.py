"""What crises of the past did to markets, and did or would have done to the source."""

from dataclasses import dataclass, replace
from typing import Any

from jesse_mcp.analytics.crises import Crisis
from jesse_mcp.analytics.shocks import Passage, longest_gap_allowed, passage
from jesse_mcp.domain.timeframes import DAY_MS, iso_minute
from jesse_mcp.services.stress_market import Basis, Fall
from jesse_mcp.services.stress_subject import Subject

_NOT_COVERED = "it has no balances over the whole window"


@dataclass(frozen=True)
class CrisisImpact:
    """Falls of the markets by symbol, and what became of the source's equity, as fractions of it.

    Attributes:
        total_return: over the window; ``None`` with a ``reason``.
        largest_fall: of the equity within the window; ``None`` for what is hypothetical.
        standard_error: of the betas, for what is hypothetical.
        unseen: why balances on both sides of the window are no measurement of it.
    """

    crisis: Crisis
    falls: dict[str, Fall]
    total_return: float | None = None
    largest_fall: float | None = None
    standard_error: float | None = None
    basis: Basis | None = None
    span: str | None = None
    unseen: str | None = None
    reason: str | None = None

    def shown(self) -> dict[str, Any]:
        """As a row of the answer, without what is missing."""
        row = {
            "name": self.crisis.name,
            "title": self.crisis.title,
            "window": f"{self.crisis.start} to {self.crisis.end} (exclusive)",
            "market_falls": {
                symbol: None if fall.value is None else {"fall": fall.value, "basis": fall.basis}
                for symbol, fall in self.falls.items()
            },
            "total_return": self.total_return,
            "basis": self.basis,
        }
        more = {
            "largest_fall": self.largest_fall,
            "standard_error": self.standard_error,
            "measured_from_to": self.span,
            "not_measured": self.unseen,
        }
        return row | {name: value for name, value in more.items() if value is not None}

    def undefined(self) -> dict[str, str]:
        """Why a number is null, by where it is missing."""
        name = f"crises.{self.crisis.name}"
        found = {
            f"{name}.{symbol}": fall.reason for symbol, fall in self.falls.items() if fall.reason is not None
        }
        return found if self.reason is None else {**found, f"{name}.total_return": self.reason}


@dataclass(frozen=True)
class CrisisReplay:
    """Blocking; called in a thread."""

    subject: Subject

    def impact(self, crisis: Crisis) -> CrisisImpact:
        """The source's own returns where it covers the window, else those of its markets times its betas."""
        subject = self.subject
        falls = {key.symbol: subject.market.fall(key, crisis) for key in subject.keys}
        own = self._own(crisis)
        unseen = None
        if isinstance(own, Passage):
            unseen = self._unseen(crisis, own)
            if unseen is None:
                return _measured(crisis, falls, own)
            own = unseen
        if subject.exchange is None:
            return CrisisImpact(crisis, falls, reason=f"{own}, and it names no market", unseen=unseen)
        if subject.sample.components is not None:
            held = subject.market.portfolio(subject.exchange, subject.sample.components, crisis)
            if isinstance(held, Passage):
                return _measured(crisis, falls, held)
        return replace(self._hypothetical(crisis, falls), unseen=unseen)

    def _own(self, crisis: Crisis) -> Passage | str:
        series = self.subject.sample.series
        if self.subject.sample.reason is not None:
            return self.subject.sample.reason
        if series.timestamps is None:
            return "the source has no times"
        found = passage(series.timestamps, series.balances, crisis.start_ms, crisis.end_ms)
        return found or _NOT_COVERED

    def _unseen(self, crisis: Crisis, found: Passage) -> str | None:
        timestamps = self.subject.sample.series.timestamps
        if timestamps is None:
            return None
        allowed = longest_gap_allowed(timestamps, crisis.start_ms, crisis.end_ms)
        first, last = found.gap_start_ms, found.gap_end_ms
        if last - first <= allowed:
            return None
        return (
            f"it has no balance between {iso_minute(first)} and {iso_minute(last)}, "
            f"{(last - first) / DAY_MS:.3g} days; a measurement takes one every {allowed / DAY_MS:.3g} days "
            "here"
        )

    def _hypothetical(self, crisis: Crisis, falls: dict[str, Fall]) -> CrisisImpact:
        unknown = [symbol for symbol, fall in falls.items() if fall.value is None]
        if unknown:
            reason = f"how far {', '.join(unknown)} fell is not known"
            return CrisisImpact(crisis, falls, reason=reason)
        shocks = {symbol: -(fall.value or 0.0) for symbol, fall in falls.items()}
        found = self.subject.shocked(shocks)
        if isinstance(found, str):
            return CrisisImpact(crisis, falls, reason=found)
        return CrisisImpact(
            crisis,
            falls,
            total_return=found.value,
            standard_error=None if found.regression is None else found.standard_error,
            basis="hypothetical",
        )


def _measured(crisis: Crisis, falls: dict[str, Fall], found: Passage) -> CrisisImpact:
    return CrisisImpact(
        crisis,
        falls,
        total_return=found.total_return,
        largest_fall=found.largest_fall,
        basis="measured",
        span=f"{iso_minute(found.start_ms)} to {iso_minute(found.end_ms)}",
    )

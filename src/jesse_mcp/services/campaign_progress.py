"""How far a job of many pieces is."""

from collections.abc import Iterator
from contextlib import contextmanager

from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.jobs import JobReporter


class CampaignProgress:
    """Finished pieces, and what is done of those under way, as one fraction.

    Args:
        pieces: how many there will be, at most.
    """

    def __init__(self, reporter: JobReporter, pieces: int) -> None:
        self._reporter = reporter
        self._pieces = max(1, pieces)
        self._finished = 0
        self._parts: dict[int, float] = {}
        self._opened = 0
        self._message = "planning"
        reporter.started()

    @contextmanager
    def piece(self) -> Iterator[ProgressCallback]:
        """Call what it gives with the fraction done of this piece; leaving it finishes the piece."""
        self._opened += 1
        number = self._opened

        def progress(fraction: float, _message: str) -> None:
            # A piece of several runs begins anew with each; the whole never goes back.
            self._parts[number] = max(fraction, self._parts.get(number, 0.0))
            self._report()

        self._parts[number] = 0.0
        try:
            yield progress
        finally:
            del self._parts[number]
            self._finished += 1
            self._report()

    def say(self, message: str) -> None:
        """What a person reads beside the fraction from now on."""
        self._message = message
        self._report()

    def _report(self) -> None:
        done = self._finished + sum(self._parts.values())
        self._reporter.progress(min(1.0, done / self._pieces), self._message)

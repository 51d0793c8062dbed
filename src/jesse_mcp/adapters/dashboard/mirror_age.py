"""When a series was last read from Jesse, known to every process that shares the mirror."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jesse_mcp.adapters.candles.atomic import replace_file, storage_errors
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError


@dataclass(frozen=True)
class Reading:
    """One reading: when it began (epoch seconds), how long it took, and what it found (days, UTC)."""

    began: float
    seconds: float
    first_day: str | None
    last_day: str | None


class MirrorAge:
    """The readings below ``folder``, one file for each series.

    Args:
        folder: made at the first reading.
        trusted_seconds: how long a reading is believed at least.
        patience: and at least this many times as long as it took, so that reading never takes more than one
            part in ``patience`` of the time.
        now: the clock, epoch seconds.
        lock_timeout: seconds to wait for another reader of the same series.
    """

    def __init__(
        self,
        folder: Path,
        trusted_seconds: float,
        patience: float,
        now: Callable[[], float],
        lock_timeout: float = 600.0,
    ) -> None:
        self._folder = folder
        self._trusted_seconds = trusted_seconds
        self._patience = patience
        self._now = now
        self._lock_timeout = lock_timeout

    def trusted(self, key: SeriesKey) -> Reading | None:
        """The last reading, if it is young enough to be believed."""
        try:
            reading = Reading(**json.loads(self._path(key).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            # A file that makes no sense is as good as none: the series is read again.
            return None
        age = self._now() - reading.began
        limit = max(self._trusted_seconds, self._patience * reading.seconds)
        return reading if 0 <= age < limit and reading.began > self._changed(key) else None

    def note(self, key: SeriesKey, reading: Reading) -> None:
        """Keep a reading. Raises: ResearchError: ``storage_failed``. The caller holds :meth:`exclusive`."""
        with storage_errors(f"note the reading of {key}"):
            replace_file(self._path(key), json.dumps(asdict(reading)).encode())

    def forget(self, key: SeriesKey) -> None:
        """Believe no reading that began before now, also none that is still going on elsewhere.

        Raises:
            ResearchError: ``storage_failed``.
        """
        now = self._now()
        with storage_errors(f"note that {key} has changed"):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._path(key).with_suffix(".changed")
            path.touch()
            os.utime(path, (now, now))

    @contextmanager
    def exclusive(self, key: SeriesKey) -> Iterator[None]:
        """One reader of a series at a time, across threads and processes.

        Raises:
            ResearchError: ``storage_failed`` when another one does not finish.
        """
        with storage_errors(f"lock the copy of {key}"):
            self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._path(key).with_suffix(".lock")
        try:
            with FileLock(lock, timeout=self._lock_timeout, poll_interval=0.05, fallback_to_soft=False):
                yield
        except Timeout as error:
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"another process has been reading {key} from Jesse for {self._lock_timeout:g} s",
                hint="wait for it to finish, then repeat the call",
            ) from error

    def _changed(self, key: SeriesKey) -> float:
        with suppress(FileNotFoundError):
            return self._path(key).with_suffix(".changed").stat().st_mtime
        return 0.0

    def _path(self, key: SeriesKey) -> Path:
        return self._folder / f"{hashlib.sha256(str(key).encode()).hexdigest()[:32]}.json"

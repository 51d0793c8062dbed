"""What every benchmark is handed: a scratch folder, candles, the engine's Python, a progress bar."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress, TaskID

from jesse_mcp.settings import Settings


class Steps:
    """The progress of one benchmark."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._name = name
        self._task: TaskID = bar.add_task(name, total=None)

    def expect(self, steps: int) -> None:
        """So many more :meth:`done` will be called."""
        total = self._bar.tasks[self._bar.task_ids.index(self._task)].total or 0
        self._bar.update(self._task, total=total + steps)

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=f"{self._name}: {what}")

    def done(self) -> None:
        self._bar.advance(self._task)

    def finish(self) -> None:
        self._bar.remove_task(self._task)


@dataclass(frozen=True)
class Desk:
    """Where to measure.

    Args:
        folder: everything written goes here.
        stocked: a candle folder with the year in it.
        mapped: the mapped file of that year.
        python: the engine's Python.
        settings: of the installation that is measured; homes and workers differ by benchmark.
        quick: repeat less: to see that everything runs, not to measure.
    """

    folder: Path
    stocked: Path
    mapped: Path
    python: Path
    settings: Settings
    quick: bool

    def repeats(self, wanted: int, quick: int = 2) -> int:
        return quick if self.quick else wanted

    def home(self, name: str) -> Path:
        """A new home with the year in it."""
        home = self.folder / name
        home.mkdir()
        shutil.copytree(self.stocked, home / "candles")
        return home

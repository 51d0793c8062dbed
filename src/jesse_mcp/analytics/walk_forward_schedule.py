"""Which days a walk-forward analysis trains on, and which it is tested on."""

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Window:
    """One training period and the test that follows it; ends are exclusive.

    ``partial`` says that the test is shorter than asked for, because the data end.
    """

    train_start: date
    train_end: date
    test_start: date
    test_end: date
    partial: bool = False

    @property
    def train_days(self) -> int:
        return (self.train_end - self.train_start).days

    @property
    def test_days(self) -> int:
        return (self.test_end - self.test_start).days


def schedule(
    start: date,
    end: date,
    train_days: int,
    test_days: int,
    *,
    step_days: int | None = None,
    anchored: bool = False,
    purge_days: int = 0,
    keep_partial: bool = True,
) -> tuple[Window, ...]:
    """The windows of a walk forward, oldest first.

    Window ``i`` begins ``i * step_days`` after the first; an anchored one keeps the first start, so that its
    training grows. Between training and test lie ``purge_days`` that belong to neither.

    Args:
        start: first day of the first training.
        end: day after the last day, exclusive.
        train_days: length of the (first) training.
        test_days: length of each test.
        step_days: from one window to the next, by default ``test_days``, so that tests follow each other
            without a gap. Not less: a day tested twice would count twice.
        anchored: whether every training begins at ``start``.
        purge_days: between the end of each training and its test.
        keep_partial: whether a last test that the data cut short is kept.

    Raises:
        ValueError: for lengths that cannot be, or when not one window fits, with the arithmetic.

    Sources: Pardo, "The Evaluation and Optimization of Trading Strategies", 2nd edition, Wiley 2008,
    chapter 11, for the walk forward; Lopez de Prado, "Advances in Financial Machine Learning", Wiley 2018,
    chapter 7, for the purge.
    """
    step = test_days if step_days is None else step_days
    if train_days < 1 or test_days < 1 or purge_days < 0:
        raise ValueError(
            f"train_days is {train_days}, test_days {test_days}, purge_days {purge_days}: the first two must "
            "be at least 1, the last at least 0"
        )
    if step < test_days:
        raise ValueError(
            f"step_days is {step}, less than the {test_days} days of a test: days would be tested twice"
        )
    total = (end - start).days
    windows: list[Window] = []
    for number in range(max(0, total) // step + 1):
        begin = number * step
        test_start = begin + train_days + purge_days
        test_end = test_start + test_days
        if test_start >= total or (test_end > total and not keep_partial):
            break
        windows.append(
            Window(
                train_start=start if anchored else start + timedelta(days=begin),
                train_end=start + timedelta(days=begin + train_days),
                test_start=start + timedelta(days=test_start),
                test_end=start + timedelta(days=min(test_end, total)),
                partial=test_end > total,
            )
        )
    if not windows:
        shortest = 1 if keep_partial else test_days
        raise ValueError(
            f"no window fits: {train_days} days of training, {purge_days} of purge and at least {shortest} "
            f"of test are {train_days + purge_days + shortest} days; {start} to {end} has {total}"
        )
    return tuple(windows)

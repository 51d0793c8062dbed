"""Whether tests keep the levels they state: ``./dev run python benchmarks/calibration.py --only NAME``.

Each campaign is a module in ``calibrations``, named with underscores for hyphens, that has

``QUESTION``: what it answers, in one line;
``run(advance)``: does the work, calls ``advance`` with the share done, returns rows of what and how much.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

FOLDER = Path(__file__).resolve().parent / "calibrations"

#: Called with the share done, 0 to 1.
Advance = Callable[[float], None]


def campaigns() -> list[str]:
    return sorted(path.stem.replace("_", "-") for path in FOLDER.glob("[a-z]*.py"))


def calibrate(name: str, console: Console) -> None:
    """Run one campaign and print its table."""
    campaign = importlib.import_module(f"benchmarks.calibrations.{name.replace('-', '_')}")
    with Progress(console=console) as progress:
        task = progress.add_task(name, total=1.0)
        rows = campaign.run(lambda share: progress.update(task, completed=share))
        progress.update(task, completed=1.0)
    table = Table("what", "how much", title=f"{name}: {campaign.QUESTION}")
    for what, figure in rows:
        table.add_row(what, figure)
    console.print(table)


def main() -> None:
    """Campaigns are found by path, not as an installed package."""
    sys.path[0] = str(FOLDER.parents[1])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", choices=campaigns(), help="may be given several times")
    for name in parser.parse_args().only or campaigns():
        calibrate(name, Console())


if __name__ == "__main__":
    main()

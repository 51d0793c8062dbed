"""The one command of the benchmarks: ``./dev run python benchmarks/run.py --help``."""

import sys
from pathlib import Path


def main() -> None:
    """Found by path, not as an installed package: the modules beside this file are ``benchmarks.*``."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.command import app

    app()()


if __name__ == "__main__":
    main()

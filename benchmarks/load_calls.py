"""What the clients of ``load.py`` ask: a mix of reads, and short jobs."""

import random
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import market

Kind = Literal["read", "job"]
_FAST_PERIODS = range(10, 30)
_SIMULATIONS = 200


@dataclass(frozen=True)
class Asked:
    """One call of a tool."""

    kind: Kind
    tool: str
    arguments: dict[str, Any]


class Mix:
    """Draws calls about what is stored.

    Args:
        runs: stored ones.
        jobs: ended ones.
        share: of the calls that are jobs.
        seed: the same one draws the same calls.
    """

    def __init__(self, runs: list[str], jobs: list[str], share: float, seed: int) -> None:
        self._runs = runs
        self._jobs = jobs
        self._share = share
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def draw(self) -> Asked:
        if self._random.random() < self._share:
            tool, arguments = self._random.choice([self._backtest, self._monte_carlo, self._analysis])()
            return Asked("job", tool, arguments)
        reads = self.reads()
        tool, arguments = self._random.choices(list(reads.values()), [_WEIGHTS[name] for name in reads])[0]
        return Asked("read", tool, arguments)

    def reads(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By what they are called in the tables."""
        run, job = self._random.choice(self._runs), self._random.choice(self._jobs)
        return {
            "job_get": ("job_get", {"job_id": job}),
            "system_status": ("system_status", {}),
            "job_list": ("job_list", {}),
            "run_list": ("run_list", {}),
            "run_get": ("run_get", {"run_id": run}),
            "run_get, trades": ("run_get", {"run_id": run, "include": ["trades"]}),
            "candles_available": ("candles_available", {}),
            "strategy_list": ("strategy_list", {}),
            "strategy_read": ("strategy_read", {"name": market.STRATEGY}),
            "indicator_list": ("indicator_list", {"search": "average", "limit": 10}),
        }

    def _backtest(self) -> tuple[str, dict[str, Any]]:
        """A month in fast mode, run and not looked up."""
        periods = {"fast_period": self._random.choice(_FAST_PERIODS), "slow_period": 60}
        return "backtest", market.call(end_date=market.MONTH_END, fast_mode=True, hyperparameters=periods)

    def _monte_carlo(self) -> tuple[str, dict[str, Any]]:
        seed = self._random.randrange(2**31)
        arguments = {"method": "trades_shuffle", "simulations": _SIMULATIONS, "seed": seed}
        return "monte_carlo", {"run_id": self._random.choice(self._runs), **arguments}

    def _analysis(self) -> tuple[str, dict[str, Any]]:
        return "analyze_results", {"run_id": self._random.choice(self._runs)}


#: As an agent that follows its work asks them.
_WEIGHTS = {
    "job_get": 20,
    "system_status": 10,
    "job_list": 10,
    "run_list": 15,
    "run_get": 15,
    "run_get, trades": 5,
    "candles_available": 10,
    "strategy_list": 5,
    "strategy_read": 5,
    "indicator_list": 5,
}

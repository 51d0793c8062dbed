"""What a finished search says: the best, what the test period made of them, and how much to believe."""

from collections import Counter
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.search import Dimension
from jesse_mcp.domain.timeframes import DAY_MS, parse_date
from jesse_mcp.services.campaign import Answered, Metrics, Refused
from jesse_mcp.services.objectives import Objective
from jesse_mcp.services.optimization_request import OptimizationRequest
from jesse_mcp.services.optimization_search import SearchTrial, ranked
from jesse_mcp.services.trial_evaluation import number

_TOP = 10
_ERRORS = 5
#: A test with less of either says nothing: a mean of so few trades, or a ratio of so few daily returns, is
#: mostly noise.
ENOUGH_TRADES = 30
ENOUGH_DAYS = 30
_SHOWN = (
    "total",
    "net_profit_percentage",
    "max_drawdown",
    "sharpe_ratio",
    "calmar_ratio",
    "win_rate",
)


class Candidate(Value):
    """In training, and on the period that did not choose it."""

    trial: int
    parameters: dict[str, Any]
    train_run_id: str
    train: dict[str, Any]
    test_run_id: str | None
    test: dict[str, Any] | None
    test_missing: str | None = Field(description="why there is no test")


class TrialLine(Value):
    trial: int
    run_id: str
    parameters: dict[str, Any]
    values: tuple[float, ...] = Field(description="of the metrics, in training")
    trades: int


class FailedTrial(Value):
    trial: int
    parameters: dict[str, Any]
    code: str
    message: str


class OptimizationResult(Value):
    metrics: dict[str, str] = Field(description="max or min")
    verdict: str = Field(description="what of the training result the test period kept")
    best: tuple[Candidate, ...] = Field(description="best first; of two metrics the Pareto front")
    top: tuple[TrialLine, ...]
    periods: dict[str, str] = Field(description="train, test; ends exclusive")
    space: dict[str, str]
    counts: dict[str, int] = Field(
        description="trials by outcome, runs, tests; ledger: experiments ever tried with these strategies"
    )
    stopped: str
    convergence: tuple[tuple[int | float, ...], ...] | None = Field(
        description="trial, value of each new best"
    )
    importance: dict[str, dict[str, float]] | None = Field(description="shares by metric (PED-ANOVA)")
    undefined: dict[str, str] = Field(description="why something is null")
    errors: tuple[FailedTrial, ...] = Field(description="the first ones")
    warnings: tuple[str, ...]


class OptimizationAnswer(Value):
    state: JobState
    job_id: str
    progress: float | None = None
    message: str | None = None
    result: OptimizationResult | None = Field(description="null until the job is done")


def candidate(trial: SearchTrial, test: Answered | Refused | None, shown: tuple[str, ...]) -> Candidate:
    """Training and test numbers side by side."""
    run_id, metrics = trial.evaluation.run_id, trial.evaluation.metrics
    if run_id is None or metrics is None:
        raise ValueError(f"trial {trial.number} has no run")
    missing = None
    if test is None:
        missing = "no test period was asked for"
    elif isinstance(test, Refused):
        missing = f"{test.error.code.value}: {test.error.message}"
    answered = test if isinstance(test, Answered) else None
    return Candidate(
        trial=trial.number,
        parameters=trial.point,
        train_run_id=run_id,
        train=_selected(metrics, shown),
        test_run_id=answered and answered.run_id,
        test=answered and _selected(answered.metrics, shown),
        test_missing=missing,
    )


def shown_metrics(objectives: tuple[Objective, ...]) -> tuple[str, ...]:
    """Names side by side in the answer: those pursued, then the usual ones."""
    return tuple(dict.fromkeys([*(objective.metric for objective in objectives), *_SHOWN]))


def top_lines(trials: list[SearchTrial], objectives: tuple[Objective, ...]) -> tuple[TrialLine, ...]:
    lines = []
    for trial in ranked(trials, objectives)[:_TOP]:
        evaluation = trial.evaluation
        lines.append(
            TrialLine(
                trial=trial.number,
                run_id=evaluation.run_id or "",
                parameters=trial.point,
                values=evaluation.values,
                trades=int(number(evaluation.metrics or {}, "total") or 0),
            )
        )
    return tuple(lines)


def counts_of(trials: list[SearchTrial], tests: int, ledger: int) -> dict[str, int]:
    """How many trials there were, by what became of them, and how many runs that took."""
    outcomes = Counter(trial.evaluation.outcome for trial in trials)
    return {
        "trials": len(trials),
        **{name: outcomes[name] for name in ("complete", "infeasible", "pruned", "failed")},
        "runs_new": sum(trial.evaluation.ran for trial in trials),
        "runs_cached": sum(trial.evaluation.cached for trial in trials),
        "tests": tests,
        "ledger": ledger,
    }


def convergence_of(trials: list[SearchTrial], objective: Objective) -> tuple[tuple[int, float], ...]:
    """Each trial that was better than all before it."""
    reached: list[tuple[int, float]] = []
    for trial in trials:
        if trial.evaluation.outcome != "complete":
            continue
        value = trial.evaluation.values[0]
        if not reached or objective.better(value, reached[-1][1]):
            reached.append((trial.number, value))
    return tuple(reached)


def failures_of(trials: list[SearchTrial]) -> tuple[FailedTrial, ...]:
    return tuple(
        FailedTrial(
            trial=trial.number,
            parameters=trial.point,
            code=trial.evaluation.error.code.value,
            message=trial.evaluation.error.message,
        )
        for trial in trials
        if trial.evaluation.error is not None
    )[:_ERRORS]


def periods_of(request: OptimizationRequest) -> dict[str, str]:
    periods = {"train": f"{request.train_start} to {request.train_end}"}
    if request.test_start is not None:
        periods["test"] = f"{request.test_start} to {request.end}"
    return periods


def described(dimension: Dimension) -> str:
    """A dimension as a person would write it."""
    if dimension.options is not None:
        return " | ".join(str(option) for option in dimension.options)
    steps = "" if dimension.step is None else f" in steps of {dimension.step:g}"
    return f"{dimension.low:g} to {dimension.high:g}{steps}"


def verdict(request: OptimizationRequest, best: tuple[Candidate, ...], trials: int) -> str:
    """In one sentence, whether the result survives data that did not choose it.

    Args:
        best: at least one; :func:`none_feasible` is for none.
        trials: how many it is the best of.
    """
    objective, first = request.objectives[0], best[0]
    name = objective.metric
    train = number(first.train, name)
    if first.test is None:
        return (
            f"{name} {train:.4g} is the best of {trials} on the data it was chosen on; {first.test_missing}"
        )
    test = number(first.test, name)
    if train is None or test is None:
        return f"{name} of the best is {train:.4g} in training and is not defined in the test period"
    said = f"{name} of the best of {trials} is {train:.4g} in training and {test:.4g} in the test period"
    return f"{said}: {_too_little(request, first.test) or _kept(objective, train, test)}"


def none_feasible(request: OptimizationRequest, trials: list[SearchTrial]) -> str:
    """Why there is no best trial, and how far the nearest was from being one."""
    judged = [trial.evaluation for trial in trials if trial.evaluation.outcome == "infeasible"]
    counted = [int(number(evaluation.metrics or {}, "total") or 0) for evaluation in judged]
    short = [trades for trades in counted if trades < request.min_trades]
    other = [e.reason for e, trades in zip(judged, counted, strict=True) if trades >= request.min_trades]
    failed = sum(trial.evaluation.outcome == "failed" for trial in trials)
    pruned = sum(trial.evaluation.outcome == "pruned" for trial in trials)
    why = []
    if short:
        why.append(
            f"{len(short)} had fewer trades in training than min_trades={request.min_trades}, the most was "
            f"{max(short)}: use a longer training period, or a lower min_trades and believe the result less"
        )
    if other:
        why.append(f"of {len(other)} a metric could not be used, the first because {other[0]}")
    if failed:
        why.append(f"{failed} failed: see errors")
    if pruned:
        why.append(f"{pruned} were pruned")
    return f"none of {len(trials)} trials was feasible: {'; '.join(why)}"


def inflation(trials: int, ledger: int, family: str) -> str:
    """Why the best of many is not what it seems."""
    return (
        f"the best of {trials} trials is better by luck alone; {ledger} distinct experiments with {family} "
        "are in the ledger, and the more there are, the less the best of them means"
    )


def _too_little(request: OptimizationRequest, test: Metrics) -> str | None:
    """Why a test decides nothing, or ``None`` when it is long enough."""
    days = (parse_date(request.end, "end_date") - parse_date(request.train_end, "test_start")) // DAY_MS
    trades = int(number(test, "total") or 0)
    if trades >= ENOUGH_TRADES and days >= ENOUGH_DAYS:
        return None
    return (
        f"{trades} trades in {days} days of test are too little to tell whether it holds outside of what it "
        f"was fitted to; at least {ENOUGH_TRADES} trades and {ENOUGH_DAYS} days are needed"
    )


def _kept(objective: Objective, train: float, test: float) -> str:
    if not objective.better(train, test):
        return "it held outside of what it was fitted to"
    if objective.maximize and train > 0:
        if test <= 0:
            return "nothing of it was left outside of what it was fitted to, which is overfitting"
        return f"{test / train:.0%} of it was left outside of what it was fitted to"
    return "it was worse outside of what it was fitted to"


def _selected(metrics: Metrics, shown: tuple[str, ...]) -> Metrics:
    return {name: metrics.get(name) for name in shown}

"""What the numbers of a significance test say, in plain sentences."""

from typing import Any

from jesse_mcp.analytics.significance_verdict import ENOUGH_STRATEGIES, SignificanceVerdict, undecided
from jesse_mcp.services.significance_evidence import UNKNOWN_TRIALS, SignificanceEvidence
from jesse_mcp.services.significance_request import SignificanceArguments

_NOTABLE_DEPENDENCE = 1.2
_MOST_NAMES = 10


def findings_of(
    arguments: SignificanceArguments,
    found: SignificanceEvidence,
    verdict: SignificanceVerdict,
    sharpe: dict[str, Any],
    selection: dict[str, Any],
) -> list[str]:
    """The verdict first, then what it rests on."""
    return [
        _on_verdict(arguments, found, verdict, selection),
        *_on_luck(found, sharpe, selection),
        *_on_record(arguments, found, sharpe, selection),
        *_on_dependence(sharpe),
        *_on_history(found),
        *_on_likeness(found, selection),
        *_on_overfitting(found),
        *_on_left_out(found),
        *_on_comparison(found),
    ]


def _on_verdict(
    arguments: SignificanceArguments,
    found: SignificanceEvidence,
    verdict: SignificanceVerdict,
    selection: dict[str, Any],
) -> str:
    level = f"{100 * arguments.confidence:g} %"
    match verdict:
        case "undecided":
            trades = found.judged.decisions
            few = undecided(len(found.judged.series.returns), trades)
            why = found.judged.reason or few or found.undefined.get("deflated_sharpe_ratio", UNKNOWN_TRIALS)
            return f"undecided: {why}"
        case "not_significant":
            return (
                f"not significant: even if nothing else had been tried, these returns do not show at {level} "
                f"confidence a Sharpe ratio above {arguments.benchmark_sharpe:g} and a mean above zero"
            )
        case "explained_by_selection":
            return (
                "explained by selection: alone it would be significant, as the best of "
                f"{selection['trials']:,} trials it is not: the chance of a true Sharpe ratio above "
                f"{arguments.benchmark_sharpe:g} after luck is {selection['deflated_sharpe_ratio']:.1%}, "
                f"below {level}"
            )
        case "overfit":
            return (
                "overfit: the result is significant, but choosing among these trials by their past did not "
                "help in the days that were left out"
            )
    return (
        f"significant at {level} after allowing for {selection['trials']:,} trials: the chance that the true "
        f"Sharpe ratio is above {arguments.benchmark_sharpe:g} after what luck and selection explain is "
        f"{selection['deflated_sharpe_ratio']:.1%}"
    )


def _on_luck(found: SignificanceEvidence, sharpe: dict[str, Any], selection: dict[str, Any]) -> list[str]:
    if found.deflation is None:
        return []
    trials, luck = found.deflation.trials, selection["luck_sharpe"]
    if trials == 1:
        return ["one trial is counted: nothing was selected, if nothing was tried elsewhere"]
    return [
        f"with {trials:,} trials, a Sharpe ratio of {luck:.2f} or better was to be expected from luck alone; "
        f"this one is {sharpe['annual']:.2f}"
    ]


def _on_record(
    arguments: SignificanceArguments,
    found: SignificanceEvidence,
    sharpe: dict[str, Any],
    selection: dict[str, Any],
) -> list[str]:
    needed = sharpe.get("minimum_track_record_years")
    years = len(found.judged.series.returns) / found.judged.series.periods_per_year
    sentences = []
    if needed is not None and needed > years:
        sentences.append(
            f"a Sharpe ratio of {sharpe['annual']:.2f} with these returns needs {needed:.2f} years of record "
            f"to be above {arguments.benchmark_sharpe:g} with {100 * arguments.confidence:g} % confidence; "
            f"there are {years:.2f}"
        )
    least = selection.get("minimum_backtest_years")
    if least is not None and least > years and selection["trials"] > 1:
        sentences.append(
            f"{selection['trials']:,} trials without skill are expected to reach {sharpe['annual']:.2f} "
            f"on any backtest shorter than {least:.2f} years; this one has {years:.2f}"
        )
    return sentences


def _on_dependence(sharpe: dict[str, Any]) -> list[str]:
    plain, robust = sharpe.get("standard_error"), sharpe.get("hac_standard_error")
    if not plain or robust is None or robust < _NOTABLE_DEPENDENCE * plain:
        return []
    return [
        f"returns depend on those before: the error of the Sharpe ratio is rather {robust:.2f} than "
        f"{plain:.2f}, and its probabilities are too good"
    ]


def _on_history(found: SignificanceEvidence) -> list[str]:
    history = found.history
    if history is None:
        return []
    sentences = []
    if len(history.families) > 1:
        sentences.append(
            f"counted together, since they share code or are compared: {_listed(history.families)}"
        )
    if history.overlapping:
        sentences.append(
            f"{history.overlapping:,} other trials saw days of this result: they are no holdout, and may "
            "have chosen it"
        )
    else:
        aside = "" if found.comparison is None else ", those compared aside,"
        sentences.append(f"no other trial in the ledger{aside} saw any day of this result")
    return sentences


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _on_likeness(found: SignificanceEvidence, selection: dict[str, Any]) -> list[str]:
    if found.effective is None or found.deflation is None or found.deflation.dsr_effective is None:
        return []
    return [
        f"the average correlation of trials on these days is {found.effective.average_correlation:.2f}: all "
        f"{found.deflation.trials:,} amount to {selection['effective_trials']:.1f} independent ones, for "
        f"which the deflated Sharpe ratio would be {found.deflation.dsr_effective:.3f}; the verdict counts "
        "all"
    ]


def _on_overfitting(found: SignificanceEvidence) -> list[str]:
    pbo = found.overfitting
    if pbo is None:
        return []
    return [
        f"of {pbo.strategies:,} strategies, the best in one half of the days was at or below the median in "
        f"the other half in {pbo.pbo:.0%} of {pbo.combinations:,} combinations, and lost money there in "
        f"{pbo.probability_of_loss:.0%}"
        + ("" if pbo.strategies >= ENOUGH_STRATEGIES else ": too few strategies for the verdict to count it")
    ]


def _on_left_out(found: SignificanceEvidence) -> list[str]:
    if found.overfitting is None or found.history is None:
        return []
    missing = found.history.count - found.overfitting.strategies
    if missing <= 0:
        return []
    return [
        f"pbo is of {found.overfitting.strategies:,} strategies only: the ledger has {missing:,} more "
        "trials, of other days, without returns that vary, or equal to one of these"
    ]


def _on_comparison(found: SignificanceEvidence) -> list[str]:
    together = found.comparison
    if together is None or together.snooping is None:
        return []
    better = len(together.snooping.superior)
    return [
        f"the chance of a best run like this among {len(together.means)} that earn nothing is "
        f"{together.snooping.spa_consistent:.1%} (SPA); {better} of them are better than nothing with "
        f"{100 * (1 - together.snooping.size):g} % confidence for all of them at once"
    ]

"""Validation as a whole: parse, choose the class, apply every rule."""

import ast
from collections import Counter
from collections.abc import Iterator

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Finding, Severity, ValidationReport
from jesse_mcp.domain.syntax import parsed
from jesse_mcp.services.validation.choice import choose
from jesse_mcp.services.validation.findings import error
from jesse_mcp.services.validation.hazards import check_hazards
from jesse_mcp.services.validation.hooks import check_hooks
from jesse_mcp.services.validation.hyperparameters import Declared, check_hyperparameters
from jesse_mcp.services.validation.indicators import check_calls
from jesse_mcp.services.validation.look_ahead import check_look_ahead
from jesse_mcp.services.validation.members import check_members
from jesse_mcp.services.validation.names import check_names
from jesse_mcp.services.validation.shared_state import check_shared_state
from jesse_mcp.services.validation.source import Source, read
from jesse_mcp.services.validation.strategy_class import StrategyClass, describe, module_classes

#: Looking through code takes time with its length, and nobody else is answered meanwhile for a part of it. A
#: long strategy has a tenth of these.
MAX_CHARACTERS = 300_000
MAX_NODES = 50_000
#: The parser of Python 3.11 searches a text with fields from its beginning for each field.
MAX_FIELD_SEARCH = 1_000_000_000
MAX_PER_RULE = 20


def validate_source(code: str, catalog: JesseCatalog, expected_name: str | None = None) -> ValidationReport:
    """Everything that can be said about a strategy without running it.

    Args:
        code: the main module of the strategy.
        catalog: what the supported Jesse offers.
        expected_name: the name the strategy is stored under, which its class must have.

    Returns:
        The findings, errors first, each kind in the order of the lines. An error is refused by Jesse,
        raises when it is reached, or contradicts itself; a warning is probably not what was meant. What
        depends on modules that are not at hand is not judged.
    """
    tree = _parsed(code)
    if isinstance(tree, Finding):
        return ValidationReport(valid=False, class_name=None, findings=(tree,), hyperparameters=None)
    try:
        return _checked(tree, catalog, expected_name)
    except RecursionError:
        finding = error("too-complex", "the code is nested too deeply to be checked", None, "simplify it")
        return ValidationReport(valid=False, class_name=None, findings=(finding,), hyperparameters=None)


def _too_long(code: str) -> Finding | None:
    if len(code) > MAX_CHARACTERS:
        return error("too-large", f"the code has {len(code)} characters", None, "split it into modules")
    braces = code.count("{")
    if braces * len(code) > MAX_FIELD_SEARCH:
        return error("too-complex", f"the code has {braces} braces", None, "move data to a file")
    return None


def _parsed(code: str) -> ast.Module | Finding:
    refused = _too_long(code)
    if refused is not None:
        return refused
    try:
        tree = parsed(code)
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            much = f"the code has more than {MAX_NODES} names, values and operations"
            return error("too-complex", much, None, "split it into modules, move data to a file")
        # Compiling finds what parsing does not, such as return outside a function. Nothing is run.
        compile(tree, "<strategy>", "exec", dont_inherit=True)
    except SyntaxError as problem:
        text = (problem.text or "").strip()
        finding = error("syntax", problem.msg + (f": {text[:120]}" if text else ""), None)
        return finding.model_copy(update={"line": problem.lineno})
    except (ValueError, OverflowError) as problem:
        return error("syntax", f"the code is no Python text: {problem}", None)
    except (RecursionError, MemoryError):
        return error("too-complex", "the code is nested too deeply to be parsed", None, "simplify it")
    return tree


def _checked(tree: ast.Module, catalog: JesseCatalog, expected: str | None) -> ValidationReport:
    source = read(tree)
    choice = choose(source, expected)
    findings = list(choice.findings)
    certain = choice.node is not None and all(found.rule != "wrong-base-class" for found in findings)
    strategy: StrategyClass | None = None
    declared = Declared(None)
    if choice.node is not None and certain:
        strategy = describe(choice.node, source, module_classes(source))
        findings += check_hooks(source, strategy, catalog)
        findings += check_members(source, strategy, catalog)
        declared = check_hyperparameters(source, strategy)
        findings += declared.findings
    findings += _general(source, strategy, catalog)
    unique = tuple(sorted(set(findings), key=_order))
    return ValidationReport(
        valid=all(finding.severity is not Severity.ERROR for finding in unique),
        class_name=choice.node.name if choice.node is not None else None,
        findings=tuple(_shortened(unique)),
        hyperparameters=declared.infos,
    )


def _general(source: Source, strategy: StrategyClass | None, catalog: JesseCatalog) -> list[Finding]:
    """Rules that need no strategy class."""
    return [
        *check_names(source, catalog),
        *check_calls(source, strategy, catalog),
        *check_hazards(source),
        *check_look_ahead(source),
        *check_shared_state(source, strategy),
    ]


def _shortened(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    """The first findings of every rule; how many more there are is said by the last one."""
    counts = Counter(finding.rule for finding in findings)
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.rule] += 1
        more = counts[finding.rule] - MAX_PER_RULE
        if shown[finding.rule] == MAX_PER_RULE and more > 0:
            yield finding.model_copy(update={"message": f"{finding.message} (and {more} more like this)"})
        elif shown[finding.rule] <= MAX_PER_RULE:
            yield finding


def _order(finding: Finding) -> tuple[bool, int, str, str, str]:
    is_warning = finding.severity is not Severity.ERROR
    return is_warning, finding.line or 0, finding.rule, finding.message, finding.suggestion or ""

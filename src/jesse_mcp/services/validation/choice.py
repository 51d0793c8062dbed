"""Which class of the module Jesse is to run."""

import ast
from dataclasses import dataclass

from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.findings import error, warning
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import Lineage, lineage_of, module_classes


@dataclass(frozen=True)
class Choice:
    """The class to check, if there is one, and what is wrong with the choice."""

    node: ast.ClassDef | None
    findings: tuple[Finding, ...] = ()


def choose(source: Source, expected: str | None) -> Choice:
    """The class named ``expected``, or the only strategy of the module."""
    classes = module_classes(source)
    lineages = {name: lineage_of(node, source, classes) for name, node in classes.items()}
    if expected in classes:
        return _expected(classes[expected], lineages[expected], _leaves(classes, lineages))
    leaves = _leaves(classes, lineages)
    if expected is not None and expected in source.bound:
        message = f"{expected} is not defined here as a class, so only a run can check it"
        return Choice(None, (warning("class-defined-elsewhere", message, None),))
    if not leaves:
        return Choice(None, (_no_strategy(source, classes),))
    if len(leaves) > 1:
        names = ", ".join(node.name for node in leaves)
        return Choice(
            None,
            (
                error(
                    "several-strategy-classes",
                    f"the module defines several strategies: {names}",
                    leaves[1],
                    f"name the one to run {expected}" if expected else "keep one strategy in a module",
                ),
            ),
        )
    return _only(leaves[0], expected)


def _expected(node: ast.ClassDef, lineage: Lineage, leaves: list[ast.ClassDef]) -> Choice:
    if lineage is Lineage.OTHER:
        return Choice(node, (_wrong_base(node),))
    others = [leaf for leaf in leaves if leaf.name != node.name]
    return Choice(
        node,
        tuple(
            warning(
                "several-strategy-classes",
                f"{other.name} is a strategy too, but only {node.name} is run",
                other,
                f"move {other.name} to a module of its own",
            )
            for other in others
        ),
    )


def _only(node: ast.ClassDef, expected: str | None) -> Choice:
    if expected is None or node.name == expected:
        return Choice(node)
    message = f"the class is named {node.name}, the strategy {expected}"
    return Choice(node, (error("class-name", message, node, f"rename the class to {expected}"),))


def _leaves(classes: dict[str, ast.ClassDef], lineages: dict[str, Lineage]) -> list[ast.ClassDef]:
    """Strategies nothing else in the module inherits from; doubtful ones only for want of a certain one."""
    bases = {base.id for node in classes.values() for base in node.bases if isinstance(base, ast.Name)}
    for lineage in (Lineage.STRATEGY, Lineage.UNKNOWN):
        found = [
            node for name, node in classes.items() if lineages[name] is lineage and node.name not in bases
        ]
        if found:
            return found
    return []


def _no_strategy(source: Source, classes: dict[str, ast.ClassDef]) -> Finding:
    for node in classes.values():
        methods = {getattr(statement, "name", None) for statement in node.body}
        named = any(isinstance(base, ast.Name) and base.id == "Strategy" for base in node.bases)
        if named or methods & {"should_long", "go_long"}:
            return _wrong_base(node)
    return error(
        "no-strategy-class",
        "the module defines no strategy",
        None,
        "define a class that extends Strategy: from jesse.strategies import Strategy"
        + ("" if source.tree.body else " (the module is empty)"),
    )


def _wrong_base(node: ast.ClassDef) -> Finding:
    bases = ", ".join(ast.unparse(base) for base in node.bases) or "nothing"
    return error(
        "wrong-base-class",
        f"class {node.name} extends {bases}, not Jesse's Strategy",
        node,
        f"from jesse.strategies import Strategy; class {node.name}(Strategy)",
    )

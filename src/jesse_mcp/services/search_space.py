"""Where a search looks: what strategies declare, narrowed or replaced by what the caller says."""

from collections.abc import Iterable, Mapping

from pydantic import Field, FiniteFloat

from jesse_mcp.domain.backtests import HyperparameterValue
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.search import Dimension, Space
from jesse_mcp.domain.strategies import HyperparameterInfo
from jesse_mcp.services.declared_ranges import declared_range, is_outside

Declared = tuple[HyperparameterInfo, ...]
#: Up to here floating point numbers still tell whole numbers apart.
_LARGEST = 1e15


class Range(Value):
    """A range, what is left out being as declared; or options alone."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    step: FiniteFloat | None = Field(default=None, description="default: as declared")
    options: tuple[bool | int | FiniteFloat | str, ...] | None = None


def union(declared: Mapping[str, Declared | None]) -> Declared | None:
    """What several strategies of one run declare; ``None`` when of one it cannot be read.

    Raises:
        ResearchError: ``invalid_argument`` when two declare one name differently: Jesse has one value for
            all of them.
    """
    found: dict[str, tuple[str, HyperparameterInfo]] = {}
    for strategy, infos in declared.items():
        if infos is None:
            return None
        for info in infos:
            other, known = found.setdefault(info.name, (strategy, info))
            if known != info:
                raise _invalid(
                    f"{info.name} is declared differently by {other} and {strategy}",
                    "Jesse has one value for all routes: declare it alike, or search one strategy at a time",
                )
    return tuple(info for _, info in found.values())


def space_of(
    declared: Declared | None, fixed: Mapping[str, HyperparameterValue], space: Mapping[str, Range] | None
) -> Space:
    """The dimensions of a search.

    Args:
        declared: what the strategies declare; ``None`` when that cannot be read without running them.
        fixed: hyperparameters with a value of the caller's; they are not searched.
        space: exactly what is searched; ``None`` for everything declared with a range.

    Raises:
        ResearchError: ``invalid_argument`` naming the hyperparameter, its fault, and the valid names.
    """
    infos = {info.name: info for info in declared or ()}
    if declared is not None:
        _check_names("hyperparameters", fixed, infos)
    if space is None:
        return _everything(declared, fixed)
    if not space:
        raise _invalid("it is empty", f"leave it out to search everything declared: {_names(infos)}")
    if declared is not None:
        _check_names("space", space, infos)
    both = sorted(set(space) & set(fixed))
    if both:
        raise _invalid(f"{both[0]} has a fixed value too", "leave it out of hyperparameters or out of space")
    return tuple(_dimension(name, infos.get(name), asked) for name, asked in space.items())


def beyond(declared: Declared | None, space: Space) -> tuple[str, ...]:
    """What is searched outside the range its strategy declares, with both ranges."""
    infos = {info.name: info for info in declared or ()}
    return tuple(
        f"{dimension.name} {_shown(dimension)} (declared {declared_range(info)})"
        for dimension in space
        if (info := infos.get(dimension.name)) is not None
        and any(is_outside(info, value) for value in dimension.options or (dimension.low, dimension.high))
    )


def _everything(declared: Declared | None, fixed: Mapping[str, HyperparameterValue]) -> Space:
    if declared is None:
        raise _invalid(
            "the strategy computes its hyperparameters, so they cannot be read without running it",
            "name what to search: space={name: {min, max, step}} or {name: {options: [...]}}",
        )
    searchable = [info for info in declared if info.name not in fixed and _has_range(info)]
    if not searchable:
        raise _invalid(
            f"there is nothing to search: of {_names(info.name for info in declared)}, none has a range and "
            "no fixed value",
            "declare min and max (or options) in hyperparameters(), or give space",
        )
    return tuple(_dimension(info.name, info, Range()) for info in searchable)


def _dimension(name: str, info: HyperparameterInfo | None, asked: Range) -> Dimension:
    ranged = (asked.min, asked.max, asked.step) != (None, None, None)
    if asked.options is not None and ranged:
        raise _fault(name, "both a range and options", "give one of them")
    if asked.options is not None or (not ranged and info is not None and _choices(info)):
        return _choice(name, info, asked.options)
    if info is not None and _choices(info):
        raise _fault(name, "a range, but it has options", f"choose of {list(_choices(info))}")
    base = info or HyperparameterInfo(name=name)
    low = base.min if asked.min is None else asked.min
    high = base.max if asked.max is None else asked.max
    if low is None or high is None:
        raise _fault(name, "no range", "give min and max, or options")
    step = base.step if asked.step is None else asked.step
    _check_range(name, low, high, step)
    whole = info is not None and info.type == "int"
    if info is None:
        # Nothing is declared that could tell: whole numbers mean an int, as they do in Python.
        whole = all(number is None or number.is_integer() for number in (low, high, step))
    if not whole:
        return Dimension(name=name, type="float", low=low, high=high, step=step)
    step = 1.0 if step is None else step
    broken = [number for number in (low, high, step) if not number.is_integer()]
    if broken:
        raise _fault(name, f"{broken[0]:g} in its range, but takes whole numbers", "give whole numbers")
    return Dimension(name=name, type="int", low=low, high=high, step=step)


def _check_range(name: str, low: float, high: float, step: float | None) -> None:
    huge = [number for number in (low, high, step) if number is not None and abs(number) > _LARGEST]
    if huge:
        raise _fault(name, f"{huge[0]:g} in its range", f"give numbers from {-_LARGEST:g} to {_LARGEST:g}")
    if low > high:
        raise _fault(name, f"min {low:g} above max {high:g}", "swap them")
    if step is not None and step <= 0:
        raise _fault(name, f"a step of {step:g}", "give a positive step, or none")
    if step is not None and (high - low) / step > 1e9:
        raise _fault(name, f"more than 1e9 steps of {step:g}", "give a longer step, or none")


def _choice(
    name: str, info: HyperparameterInfo | None, asked: tuple[HyperparameterValue, ...] | None
) -> Dimension:
    known = _choices(info) if info is not None else ()
    options = known if asked is None else asked
    if not options:
        raise _fault(name, "no options", "give at least one")
    # True equals 1 in Python, and is another value to a strategy.
    marks = [(type(option), option) for option in options]
    if len(set(marks)) < len(marks):
        raise _fault(name, "an option twice", "give each once")
    strange = [option for option in options if known and option not in known]
    if strange:
        raise _fault(name, f"the option {strange[0]!r}", f"it is declared with {list(known)}")
    wrong = [option for option in options if info is not None and not _fits(info, option)]
    if wrong:
        raise _fault(name, f"the option {wrong[0]!r}", f"it is declared as {info and info.type}")
    return Dimension(name=name, type="choice", options=options)


def _fits(info: HyperparameterInfo, option: HyperparameterValue) -> bool:
    number = isinstance(option, int | float) and not isinstance(option, bool)
    kinds = {"int": number and isinstance(option, int), "float": number, "bool": isinstance(option, bool)}
    return kinds.get(info.type or "", True)


def _choices(info: HyperparameterInfo) -> tuple[HyperparameterValue, ...]:
    if info.options:
        return info.options
    return (False, True) if info.type == "bool" else ()


def _has_range(info: HyperparameterInfo) -> bool:
    return bool(_choices(info)) or (
        info.type in ("int", "float") and info.min is not None and info.max is not None
    )


def _shown(dimension: Dimension) -> str:
    if dimension.options is not None:
        return " | ".join(str(option) for option in dimension.options)
    return f"{dimension.low:g} to {dimension.high:g}"


def _check_names(argument: str, given: Iterable[str], infos: Mapping[str, HyperparameterInfo]) -> None:
    for name in given:
        if name not in infos:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{argument}: no strategy of this run has a hyperparameter {name!r}",
                hint=f"there are: {_names(infos)}",
            )


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _fault(name: str, has: str, hint: str) -> ResearchError:
    return _invalid(f"{name} has {has}", hint)


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, f"space: {message}", hint=hint)

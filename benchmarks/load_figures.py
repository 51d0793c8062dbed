"""What a campaign of ``load.py`` says, as tables."""

from collections.abc import Iterable
from statistics import median

from benchmarks.load_campaign import TRIVIAL, Alone, Found
from benchmarks.load_clients import ERAS
from benchmarks.load_watch import Sample, growth
from benchmarks.report import Figure, Goal, Result, milliseconds, percentile, sampled

_ADDED_MS = 3.0
_GROWTH_MIB = 1.0
_FIRST = 60.0
#: Refusals for asking too often, of the server and of its queue of jobs: the only ones that are accepted.
LIMITS = ("http_429", "rate_limited")
_ERA_NAMES = {"legacy": "with sessions (2025)", "auto": "without sessions (2026)"}


def results(found: Found, title: str) -> list[Result]:
    """The tables of a campaign."""
    return [
        Result("load, calls", title, tuple(_calls(found))),
        Result(
            "load, added to a call",
            "a bare FastMCP server in the same run, turn by turn",
            tuple(_added(found)),
        ),
        Result(
            "load, each read", "one client, one call at a time; more than the bare call", tuple(_reads(found))
        ),
        Result("load, the server over time", "during the calls of many", tuple(_server(found))),
    ]


def unaccepted(found: Found) -> dict[str, int]:
    """Errors by code, without those of limits."""
    return {code: count for code, count in found.outcomes.items() if code not in ("ok", *LIMITS)}


def _calls(found: Found) -> Iterable[Figure]:
    for kind, name in (("read", "reads"), ("job", "jobs")):
        seconds = [record[2] for record in found.calls if record[0] == kind and record[3] == "ok"]
        yield Figure(f"{name} that were answered", len(seconds), "")
        if len(seconds) > 1:
            values = milliseconds(seconds)
            yield sampled(f"{name}: median", values, "ms")
            for percent in (90, 99):
                yield Figure(f"{name}: {percent}th percentile", percentile(values, percent), "ms")
    yield Figure("calls a second", len(found.calls) / found.mixed_seconds, "")
    yield Figure(
        "CPU of the server process, share of one core", 100 * found.mixed_cpu / found.mixed_seconds, "%"
    )
    yield Figure(
        "CPU of the clients' processes, share of one core", 100 * found.clients_cpu / found.mixed_seconds, "%"
    )
    yield Figure("refused by a limit (429)", sum(found.outcomes[code] for code in LIMITS), "")
    yield Figure("other errors", sum(unaccepted(found).values()), "", goal=Goal("at most", 0))


def _added(found: Found) -> Iterable[Figure]:
    for era in ERAS:
        alone, name = found.alone[era, TRIVIAL], f"{TRIVIAL}, one client {_ERA_NAMES[era]}"
        yield sampled(f"{name}: bare call", milliseconds(alone.bare), "ms")
        yield sampled(f"{name}: added", _differences(alone), "ms", Goal("at most", _ADDED_MS))
        yield Figure(f"{name}: bare CPU time", 1000 * alone.bare_cpu / len(alone.bare), "ms")
        yield Figure(f"{name}: CPU time added", _cpu_added(alone), "ms", goal=Goal("at most", _ADDED_MS))
    good = [pair for pair in found.pairs if pair[2:] == ["ok", "ok"]]
    if len(good) > 1:
        name = f"{TRIVIAL}, many clients"
        yield sampled(f"{name}: bare call", milliseconds(pair[1] for pair in good), "ms")
        yield sampled(f"{name}: ours", milliseconds(pair[0] for pair in good), "ms")
        added = milliseconds(pair[0] - pair[1] for pair in good)
        yield sampled(f"{name}: added", added, "ms", Goal("at most", _ADDED_MS))
        ours, bare = (1000 * cpu / len(found.pairs) for cpu in found.pair_cpu)
        yield Figure(f"{name}: bare CPU time", bare, "ms")
        yield Figure(f"{name}: CPU time added", ours - bare, "ms", goal=Goal("at most", _ADDED_MS))


def _reads(found: Found) -> Iterable[Figure]:
    for (era, read), alone in found.alone.items():
        if read != TRIVIAL:
            name = f"{read}, {_ERA_NAMES[era]}"
            yield sampled(f"{name}: added", _differences(alone), "ms")
            yield Figure(f"{name}: CPU time added", _cpu_added(alone), "ms")


def _differences(alone: Alone) -> list[float]:
    return milliseconds(ours - bare for ours, bare in zip(alone.ours, alone.bare, strict=True))


def _cpu_added(alone: Alone) -> float:
    return 1000 * (alone.cpu / len(alone.ours) - alone.bare_cpu / len(alone.bare))


def _server(found: Found) -> Iterable[Figure]:
    samples = found.samples
    yield Figure("memory before the clients", found.before_clients, "MiB")
    yield Figure("memory with all connected", samples[0].own, "MiB")
    later = [sample for sample in samples if sample.at >= _FIRST]
    if later:
        yield Figure("memory after a minute", later[0].own, "MiB")
    yield Figure("memory at the end", samples[-1].own, "MiB")
    if found.last is not None:
        yield Figure("memory after the clients", found.last.own, "MiB")
    if len(later) > 1:
        yield Figure("growth a minute, from the first minute on", growth(later), "MiB")
    # A process that has just met its clients still fills its pools and caches; one that leaks goes on.
    half = [sample for sample in samples if sample.at >= samples[-1].at / 2]
    if len(half) > 1:
        goal = Goal("at most", _GROWTH_MIB)
        yield Figure("growth a minute, in the second half", growth(half), "MiB", goal=goal)
    yield Figure("memory of its processes, median", median(sample.below for sample in samples), "MiB")
    yield Figure("memory of its processes at the end", _end(samples).below, "MiB")
    yield Figure("open descriptors with all connected", samples[0].descriptors, "")
    yield Figure("open descriptors, most", max(sample.descriptors for sample in samples), "")
    yield Figure("open descriptors after the clients", _end([found.last or samples[-1]]).descriptors, "")
    lags = milliseconds(sample.lag for sample in samples if sample.lag is not None)
    if len(lags) > 1:
        yield sampled("/health meanwhile: median", lags, "ms")
        yield Figure("/health meanwhile: longest", max(lags), "ms")
    yield Figure(
        "/health not answered", sum(sample.lag is None for sample in samples), "", goal=Goal("at most", 0)
    )
    yield Figure("connections of clients", found.connections, "")
    seconds, code, left = found.stop
    yield Figure("seconds to stop", seconds, "s")
    yield Figure("exit code", code, "", goal=Goal("at most", 0))
    yield Figure("processes left behind", left, "", goal=Goal("at most", 0))


def _end(samples: list[Sample]) -> Sample:
    return samples[-1]

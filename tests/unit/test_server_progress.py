"""What a caller hears while it waits."""

from typing import Any, cast

from fastmcp import Context

from jesse_mcp.server.progress import notifier


class Listening:
    """The one method of a context that progress needs."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float | None, str | None]] = []

    async def report_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.heard.append((progress, total, message))


async def test_every_value_is_greater_than_the_one_before() -> None:
    context = Listening()
    notify = notifier(cast(Any, context))
    for fraction, message in [
        (None, "queued"),
        (0.0, "loading"),
        (0.25, "simulating"),
        (0.25, "still simulating"),
        (0.2, "a late message"),
        (1.0, "done"),
    ]:
        await notify(fraction, message)
    assert context.heard == [(0.0, 1.0, "queued"), (0.25, 1.0, "simulating"), (1.0, 1.0, "done")]


async def test_two_callers_do_not_share_their_progress() -> None:
    for _ in range(2):
        context = Listening()
        await notifier(cast("Context", context))(0.5, "half")
        assert context.heard == [(0.5, 1.0, "half")]

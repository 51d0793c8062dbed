"""A whole series of Jesse's, written to a file in Jesse's project and read from there.

Jesse also streams a series as a download, which must never be asked for: each piece of it is made in
whichever thread is free, while its transaction belongs to the thread it began in. When any other request
comes between, that transaction stays open, every worker that starts afterwards waits for its locks, and Jesse
hangs until it is restarted. A file is written in one go, in one thread, and its transaction ends with it.

Jesse's API reads text files by pages of 2,000 lines, from the first line each time, which for candles takes
minutes. The module of a strategy it reads whole: so the file becomes that of a temporary one.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.project import JesseProject
from jesse_mcp.adapters.dashboard.staging import place_mark
from jesse_mcp.adapters.dashboard.temporary_names import spool_path, temporary_name
from jesse_mcp.adapters.strategies.folder_store import main_module
from jesse_mcp.adapters.strategies.source_bundle import STRATEGIES
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

EXPORT = "/candles/export-to-project"
_HEADER = "timestamp,open,close,high,low,volume\n"
#: Seconds for Jesse to write a series, and to send it: many years of minutes on a slow machine.
_PATIENCE = 900.0


class DashboardOrigin:
    """Implements :class:`jesse_mcp.ports.candle_store.SeriesOrigin`: a running Jesse."""

    def __init__(self, client: DashboardClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        return f"Jesse at {self._client.url}"

    def whole(self, key: SeriesKey, arrived: Callable[[int], None]) -> CandleArray:
        """See the port and :func:`exported`; all candles arrive together."""
        candles = exported(self._client, key)
        arrived(len(candles))
        return candles


def exported(client: DashboardClient, key: SeriesKey) -> CandleArray:
    """Every one-minute candle of a series, in Jesse's column order.

    The numbers are those of Jesse's database, which keeps prices and volume as float4, in their shortest
    decimal form: a run of Jesse's computes with the same.

    Returns:
        Shape (n, 6); empty when Jesse has no such series.

    Raises:
        ResearchError: ``jesse_unsupported`` for another table than the one of Jesse 3.5, and what
            :meth:`DashboardClient.call` raises.
    """
    with _temporary(client) as name:
        spool = spool_path(name)
        wanted = {"exchange": key.exchange, "symbol": key.symbol, "path": spool, "overwrite": False}
        try:
            count = client.post(EXPORT, wanted, patience=_PATIENCE)["row_count"]
        except ResearchError as error:
            # A version without this endpoint is told apart by the client.
            missing = error.code is ErrorCode.JESSE_FAILED and error.details.get("status") == 404
            if not missing:
                raise
            return np.empty((0, 6))
        place_mark(JesseProject(client), name)
        moved = {"source": spool, "destination": main_module(name), "overwrite": False}
        client.post("/project-files/move", moved)
        text = client.post("/strategy/get", {"name": name}, patience=_PATIENCE)["content"]
    return _parsed(key, str(text), int(count))


@contextmanager
def _temporary(client: DashboardClient) -> Iterator[str]:
    """A name for what is put into Jesse's project; nothing of that name is left there."""
    name = temporary_name("Candles")
    project = JesseProject(client)
    try:
        yield name
    except ResearchError:
        # What is in the way now may be so here too; what stays is removed a day later.
        with suppress(ResearchError):
            _remove(project, name)
        raise
    _remove(project, name)


def _remove(project: JesseProject, name: str) -> None:
    project.remove(spool_path(name))
    project.remove(f"{STRATEGIES}/{name}")


def _parsed(key: SeriesKey, text: str, count: int) -> CandleArray:
    import polars as pl

    if not text.startswith(_HEADER) or not text.endswith("\n"):
        raise _other_table(key, text)
    schema: dict[str, type[pl.DataType]] = {"timestamp": pl.Int64}
    schema |= {f"c{column}": pl.Float64 for column in range(1, 6)}
    try:
        frame = pl.read_csv(io.BytesIO(text[len(_HEADER) :].encode()), has_header=False, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise _other_table(key, text) from error
    if frame.null_count().row(0) != (0,) * 6 or len(frame) != count:
        raise _other_table(key, text)
    return np.asarray(frame.to_numpy(), dtype=np.float64)


def _other_table(key: SeriesKey, text: str) -> ResearchError:
    return ResearchError(
        ErrorCode.JESSE_UNSUPPORTED,
        f"the candles of {key} came from Jesse as another table than expected: {text[:200]!r}",
        hint="this version reads the export of Jesse 3.5: see system_status for the version that runs",
    )

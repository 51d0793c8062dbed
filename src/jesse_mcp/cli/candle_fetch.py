"""An import from an exchange on a terminal, with a bar."""

from jesse_mcp.cli.results import progress_bar
from jesse_mcp.composition import Application
from jesse_mcp.services.candle_import import ExchangeImport, ListedSymbols
from jesse_mcp.services.candle_pull import CandlesPulled
from jesse_mcp.settings import Settings

_FOREVER = 10**9


async def fetch_with_progress(
    settings: Settings, exchange: str, symbols: tuple[str, ...], start_date: str, end_date: str | None
) -> ExchangeImport:
    """Fetch to the end; interrupted, it keeps what it has and goes on the next time.

    Raises:
        ResearchError: the error of the import.
    """
    application = Application(settings)
    await application.start()
    try:
        with progress_bar() as bar:
            task = bar.add_task("asking the exchange", total=1.0)

            async def show(fraction: float | None, message: str | None) -> None:
                bar.update(task, completed=fraction or 0.0, description=message or "")

            return await application.candle_imports.import_from_exchange(
                exchange, symbols, start_date, end_date, wait_seconds=_FOREVER, on_progress=show
            )
    finally:
        await application.close()


async def pull_with_progress(settings: Settings, exchange: str, symbol: str) -> CandlesPulled:
    """Copy a series of the Jesse at ``JESSE_URL`` into the store of this machine.

    Raises:
        ResearchError: what keeps Jesse from giving it, or the store from taking it.
    """
    application = Application(settings)
    await application.start()
    try:
        with progress_bar() as bar:
            task = bar.add_task("asking Jesse", total=None)

            async def show(_fraction: float | None, message: str | None) -> None:
                bar.update(task, description=message or "")

            return await application.candle_pulls.pull(
                exchange, symbol, wait_seconds=_FOREVER, on_progress=show
            )
    finally:
        await application.close()


async def list_symbols(settings: Settings, exchange: str, text: str) -> ListedSymbols:
    """Every symbol the exchange lists that contains ``text``.

    Raises:
        ResearchError: what keeps the exchange from being asked, or from answering.
    """
    application = Application(settings)
    await application.start()
    try:
        return await application.candle_imports.listed(exchange, text, limit=None)
    finally:
        await application.close()

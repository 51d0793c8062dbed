"""Which candle files who may import."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.access import ALL_SCOPES, Caller
from jesse_mcp.domain.call_context import calling
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.candles import CandleService
from jesse_mcp.services.import_folders import ImportFolders
from mcp_desk import candle_file

#: As over HTTP where no token is asked for.
STRANGER = Caller("address:127.0.0.1", ALL_SCOPES)


@pytest.fixture
def stranger() -> Iterator[None]:
    with calling(STRANGER, "req_1"):
        yield


@pytest.fixture
def imports(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "imports"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return candle_file(folder / "btc.csv", days=1)


def service(tmp_path: Path, *named: Path) -> CandleService:
    store = ParquetCandleStore(tmp_path / "candles")
    return CandleService(store, CandleFiles(), str, ImportFolders(tmp_path / "home", named))


async def imported(desk: CandleService, path: str | Path) -> int:
    return (await desk.import_file(str(path), "Binance Spot", "BTC-USDT")).rows_in_file


async def refusal(desk: CandleService, path: str | Path) -> str:
    """The message, without the path that was given; the hint names where files may be."""
    with pytest.raises(ResearchError) as caught:
        await imported(desk, path)
    assert caught.value.code is ErrorCode.FORBIDDEN
    assert caught.value.hint is not None
    assert "imports" in caught.value.hint
    assert "JESSE_MCP_IMPORT_FOLDERS" in caught.value.hint
    return caught.value.message.replace(repr(str(path)), "PATH")


async def test_whoever_started_the_process_imports_from_anywhere(tmp_path: Path, outside: Path) -> None:
    assert await imported(service(tmp_path), outside) == 1440


async def test_named_folders_hold_for_everybody(tmp_path: Path, imports: Path, outside: Path) -> None:
    elsewhere = candle_file(tmp_path / "elsewhere.csv", days=1)
    desk = service(tmp_path, outside.parent)
    for caller in (None, STRANGER):
        with ExitStack() as stack:
            if caller is not None:
                stack.enter_context(calling(caller, "req_1"))
            assert await imported(desk, outside) == 1440
            assert await imported(desk, outside.parent) == 1440
            assert await imported(desk, candle_file(imports / "btc.csv", days=1)) == 1440
            assert str(outside.parent) in repr(ImportFolders(tmp_path, (outside.parent,)).reachable())
            await refusal(desk, elsewhere)


@pytest.mark.usefixtures("stranger")
async def test_others_import_what_was_put_there_for_them(tmp_path: Path, imports: Path) -> None:
    desk = service(tmp_path)
    assert await imported(desk, candle_file(imports / "btc.csv", days=1)) == 1440
    assert await imported(desk, imports) == 1440
    (imports / "again.csv").symlink_to(imports / "btc.csv")
    assert await imported(desk, imports / "again.csv") == 1440
    with pytest.raises(ResearchError) as caught:
        await imported(desk, imports / "nothing.csv")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("stranger")
async def test_the_folder_itself_may_be_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "imports").symlink_to(outside.parent)
    assert await imported(service(tmp_path), tmp_path / "home" / "imports" / "btc.csv") == 1440


@pytest.mark.usefixtures("stranger")
async def test_no_path_of_others_leads_out_or_tells_what_is_there(
    tmp_path: Path, imports: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outside.parent)
    (imports / "there.csv").symlink_to(outside)
    (imports / "absent.csv").symlink_to(tmp_path / "nothing.csv")
    (imports / "folder").symlink_to(outside.parent)
    beside = tmp_path / "home" / "imports-of-others"
    beside.mkdir()
    ways: list[str | Path] = [
        outside,
        outside.parent,
        outside.parent / "nothing.csv",
        outside / "below.csv",
        "btc.csv",
        "nothing.csv",
        f"{imports}/../../outside/btc.csv",
        f"{imports}/../../outside/nothing.csv",
        imports / "there.csv",
        imports / "absent.csv",
        imports / "folder",
        imports / "folder" / "btc.csv",
        imports / "folder" / "nothing.csv",
        imports.parent,
        beside,
        candle_file(beside / "btc.csv", days=1),
        "~/btc.csv",
        "~nobody-of-this-name/btc.csv",
        f"{imports}/\0.csv",
        f"{imports}/\ud800.csv",
        f"/proc/self/cwd/{outside.name}",
    ]
    said = {await refusal(service(tmp_path), way) for way in ways}
    assert said == {"path is PATH: it is not in a folder that candles may be imported from"}


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("target", ["outside/btc.csv", "outside/nothing.csv"])
async def test_a_link_in_a_folder_leads_nowhere_else(
    tmp_path: Path, imports: Path, outside: Path, target: str
) -> None:
    candle_file(imports / "a.csv", days=1)
    (imports / "b.csv").symlink_to(tmp_path / target)
    message = await refusal(service(tmp_path), imports)
    assert message.startswith("path is PATH, where b.csv leads elsewhere")
    assert outside.exists()

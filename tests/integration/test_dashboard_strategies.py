"""The strategy store over a real Jesse's project."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.dashboard.strategies import DashboardStrategyStore
from jesse_mcp.adapters.dashboard.temporary_names import temporary_name
from jesse_mcp.domain.errors import ErrorCode, ResearchError

CODE = "from jesse.strategies import Strategy\n\n\nclass {0}(Strategy):\n    pass\n"


@pytest.fixture
def client(jesse_host: JesseHost) -> Iterator[DashboardClient]:
    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    yield client
    client.close()


@pytest.fixture
def store(client: DashboardClient) -> DashboardStrategyStore:
    return DashboardStrategyStore(client)


@pytest.fixture
def folder(jesse_host: JesseHost) -> Path:
    return jesse_host.project / "strategies"


def test_written_read_replaced_deleted(store: DashboardStrategyStore, folder: Path) -> None:
    code = CODE.format("WrittenOne") + "# \u00e4\u4f60\r\n" + "# long\n" * 3_000
    store.write("WrittenOne", code, overwrite=False)
    assert (folder / "WrittenOne" / "__init__.py").read_bytes() == code.encode()
    assert store.read("WrittenOne") == code
    assert store.names()["WrittenOne"] == "user"
    with pytest.raises(ResearchError) as caught:
        store.write("WrittenOne", "", overwrite=False)
    assert caught.value.code is ErrorCode.STRATEGY_EXISTS
    store.write("WrittenOne", CODE.format("WrittenOne"), overwrite=True)
    assert store.read("WrittenOne") == CODE.format("WrittenOne")
    store.delete("WrittenOne")
    assert not (folder / "WrittenOne").exists()
    with pytest.raises(ResearchError) as caught:
        store.read("WrittenOne")
    assert caught.value.code is ErrorCode.STRATEGY_NOT_FOUND


def test_bundled_ones_are_readable_and_only_that(store: DashboardStrategyStore, folder: Path) -> None:
    assert store.names()["TrendFollowing"] == "bundled"
    assert "class TrendFollowing" in store.read("TrendFollowing")
    assert list(store.source(frozenset({"TrendFollowing"})).files) == [
        "strategies/TrendFollowing/__init__.py"
    ]
    with pytest.raises(ResearchError) as caught:
        store.write("TrendFollowing", "", overwrite=True)
    assert caught.value.code is ErrorCode.STRATEGY_READ_ONLY
    with pytest.raises(ResearchError) as caught:
        store.delete("TrendFollowing")
    assert caught.value.code is ErrorCode.STRATEGY_READ_ONLY
    assert not (folder / "TrendFollowing").exists()


@pytest.mark.parametrize("name", ["../outside", "a/b", "", "..", "1st", "x" * 65, "A b", "Ä"])
def test_names_that_jesse_would_follow_anywhere(
    store: DashboardStrategyStore, jesse_host: JesseHost, name: str
) -> None:
    before = sorted(path.name for path in jesse_host.project.iterdir())
    for use in (
        lambda: store.write(name, "x = 1", overwrite=True),
        lambda: store.read(name),
        lambda: store.delete(name),
        lambda: store.source(frozenset({name})),
    ):
        with pytest.raises(ResearchError) as caught:
            use()
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert sorted(path.name for path in jesse_host.project.iterdir()) == before


def test_the_source_takes_along_what_is_imported(store: DashboardStrategyStore, folder: Path) -> None:
    code = "from . import rules\nfrom strategies.SharedParts import sizing\nimport helpers\n"
    store.write("Importer", code + CODE.format("Importer"), overwrite=False)
    (folder / "Importer" / "rules.py").write_text("LIMIT = 1\n")
    (folder / "Importer" / "table.csv").write_text("a,b\n")
    (folder / "Importer" / "model.bin").write_bytes(b"\0\1")
    (folder / "Importer" / "nested").mkdir()
    (folder / "Importer" / "nested" / "more.json").write_text("{}")
    (folder / "SharedParts").mkdir()
    (folder / "SharedParts" / "__init__.py").write_text("")
    (folder / "SharedParts" / "sizing.py").write_text("SIZE = 2\n")
    (folder.parent / "helpers.py").write_text("x = 1\n")
    files = store.source(frozenset({"Importer"})).files
    assert sorted(files) == [
        "strategies/Importer/__init__.py",
        "strategies/Importer/nested/more.json",
        "strategies/Importer/rules.py",
        "strategies/Importer/table.csv",
        "strategies/SharedParts/__init__.py",
        "strategies/SharedParts/sizing.py",
    ]
    assert files["strategies/SharedParts/sizing.py"] == "SIZE = 2\n"


def test_what_is_no_strategy(store: DashboardStrategyStore, folder: Path, tmp_path: Path) -> None:
    (folder / "EmptyFolder").mkdir()
    temporary = folder / temporary_name("Trend")
    temporary.mkdir()
    mark = f"# jesse-mcp made {temporary.name} for one run, and removes it afterwards.\n"
    (temporary / "_jesse_mcp_temporary.py").write_text(mark)
    of_the_user = folder / "Grid_mcp_1600000000_deadbeef"
    of_the_user.mkdir()
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "Binary").mkdir()
    (folder / "Binary" / "__init__.py").write_bytes(b"\0\0")
    (tmp_path / "__init__.py").write_text("")
    (folder / "Linked").symlink_to(tmp_path)
    names = store.names()
    assert "__pycache__" not in names
    assert [name for name in names if "_mcp_" in name] == [of_the_user.name]
    for name, code in {
        "EmptyFolder": ErrorCode.STRATEGY_INVALID,
        "Binary": ErrorCode.STRATEGY_INVALID,
        "Linked": ErrorCode.CAPABILITY_MISSING,
    }.items():
        for use in (store.read, lambda one: store.source(frozenset({one}))):
            with pytest.raises(ResearchError) as caught:
                use(name)
            assert caught.value.code is code, name
    with pytest.raises(ResearchError, match="remove"):
        store.write(temporary_name("Trend"), "", overwrite=False)
    with pytest.raises(ResearchError) as caught:
        store.read("EmptyFoldr")
    assert caught.value.code is ErrorCode.STRATEGY_NOT_FOUND
    assert "EmptyFolder" in str(caught.value.hint)
    (folder / "Linked").unlink()
    shutil.rmtree(temporary)
    of_the_user.rmdir()

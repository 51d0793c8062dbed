"""Strategy folders: layout, atomic writes, path safety."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError

CODE = "from jesse.strategies import Strategy\n\n\nclass Mine(Strategy):\n    pass\n"
BUNDLED = {"DonchianBreakout", "MeanReversion", "TrendFollowing"}
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def store(root: Path) -> FolderStrategyStore:
    return FolderStrategyStore(root)


def put_strategy(root: Path, name: str, code: str = CODE) -> Path:
    folder = root / "strategies" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_bytes(code.encode())
    return folder


def failure(code: ErrorCode, error: pytest.ExceptionInfo[ResearchError]) -> ResearchError:
    assert error.value.code is code
    assert error.value.hint
    return error.value


def test_a_missing_folder_holds_the_bundled_strategies(store: FolderStrategyStore, root: Path) -> None:
    assert store.names() == dict.fromkeys(sorted(BUNDLED), "bundled")
    assert not root.exists()


def test_what_is_written_is_read_back(store: FolderStrategyStore, root: Path) -> None:
    code = CODE.replace("\n", "\r\n") + "# ü 中"
    store.write("Mine", code, overwrite=False)
    assert store.read("Mine") == code
    assert store.names()["Mine"] == "user"
    assert store.source(frozenset({"Mine"})).files == {"strategies/Mine/__init__.py": code}
    assert {path.name for path in (root / "strategies" / "Mine").iterdir()} == {"__init__.py"}


def test_names_are_in_alphabetical_order(store: FolderStrategyStore, root: Path) -> None:
    for name in ("Zeta", "Alpha", "Mine"):
        put_strategy(root, name)
    assert list(store.names()) == sorted([*BUNDLED, "Alpha", "Mine", "Zeta"])


def test_only_strategy_folders_are_listed(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine")
    put_strategy(root, "__pycache__")
    put_strategy(root, ".hidden")
    (root / "strategies" / "Empty").mkdir()
    (root / "strategies" / "file.py").write_text(CODE)
    assert {name for name, origin in store.names().items() if origin == "user"} == {"Mine"}


def test_a_bundled_strategy_is_read_only(store: FolderStrategyStore) -> None:
    before = store.read("TrendFollowing")
    with pytest.raises(ResearchError) as writing:
        store.write("TrendFollowing", CODE, overwrite=True)
    failure(ErrorCode.STRATEGY_READ_ONLY, writing)
    with pytest.raises(ResearchError) as deleting:
        store.delete("TrendFollowing")
    failure(ErrorCode.STRATEGY_READ_ONLY, deleting)
    assert store.read("TrendFollowing") == before


def test_a_project_may_bring_a_strategy_named_as_a_bundled_one(
    store: FolderStrategyStore, root: Path
) -> None:
    put_strategy(root, "TrendFollowing", "# own")
    assert store.names()["TrendFollowing"] == "user"
    assert store.read("TrendFollowing") == "# own"
    assert store.source(frozenset({"TrendFollowing"})).files == {
        "strategies/TrendFollowing/__init__.py": "# own"
    }
    store.delete("TrendFollowing")
    assert store.names()["TrendFollowing"] == "bundled"


def test_writing_again_needs_overwrite(store: FolderStrategyStore) -> None:
    store.write("Mine", CODE, overwrite=False)
    with pytest.raises(ResearchError) as caught:
        store.write("Mine", "x", overwrite=False)
    failure(ErrorCode.STRATEGY_EXISTS, caught)
    assert store.read("Mine") == CODE
    store.write("Mine", "x", overwrite=True)
    assert store.read("Mine") == "x"


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", ["mine", "MINE", "trendfollowing"])
def test_names_that_differ_only_in_case_are_refused(
    store: FolderStrategyStore, name: str, overwrite: bool
) -> None:
    store.write("Mine", CODE, overwrite=False)
    with pytest.raises(ResearchError) as caught:
        store.write(name, CODE, overwrite=overwrite)
    failure(ErrorCode.STRATEGY_EXISTS, caught)


def test_overwriting_leaves_the_files_beside_alone(store: FolderStrategyStore, root: Path) -> None:
    folder = put_strategy(root, "Mine")
    (folder / "helper.py").write_text("x = 1")
    store.write("Mine", "y", overwrite=True)
    assert (folder / "helper.py").read_text() == "x = 1"


def test_deleting_removes_the_folder(store: FolderStrategyStore, root: Path) -> None:
    folder = put_strategy(root, "Mine")
    (folder / "deep").mkdir()
    (folder / "deep" / "model.pkl").write_bytes(b"\0")
    store.delete("Mine")
    assert "Mine" not in store.names()
    assert {path.name for path in (root / "strategies").iterdir()} == {".lock"}


def test_what_is_not_there_brings_the_closest_names(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine")
    for ask in (store.read, store.delete, lambda name: store.source(frozenset({name}))):
        with pytest.raises(ResearchError) as caught:
            ask("trendfolowing")
        error = failure(ErrorCode.STRATEGY_NOT_FOUND, caught)
        assert error.details["closest"] == ["TrendFollowing"]
    with pytest.raises(ResearchError) as caught:
        store.read("Xyzzy")
    failure(ErrorCode.STRATEGY_NOT_FOUND, caught)


def test_case_decides_even_where_the_file_system_ignores_it(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine")
    with pytest.raises(ResearchError) as caught:
        store.read("mine")
    assert failure(ErrorCode.STRATEGY_NOT_FOUND, caught).details["closest"] == ["Mine"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a.b", "x" * 65, "a\0", "1a", "_a", "ä", "con "]
)
def test_names_that_are_paths_are_refused_everywhere(
    store: FolderStrategyStore, root: Path, name: str
) -> None:
    sentinel = root.parent / "x" / "__init__.py"
    sentinel.parent.mkdir()
    sentinel.write_text("untouched")
    attempts = (
        lambda: store.read(name),
        lambda: store.delete(name),
        lambda: store.write(name, CODE, overwrite=True),
        lambda: store.source(frozenset({name})),
    )
    for attempt in attempts:
        with pytest.raises(ResearchError) as caught:
            attempt()
        failure(ErrorCode.INVALID_ARGUMENT, caught)
    assert sentinel.read_text() == "untouched"


def test_a_folder_linked_from_outside_is_refused(
    store: FolderStrategyStore, root: Path, tmp_path: Path
) -> None:
    outside = put_strategy(tmp_path / "outside", "Mine", "secret")
    (root / "strategies").mkdir(parents=True)
    (root / "strategies" / "Mine").symlink_to(outside)
    assert "Mine" not in store.names()
    with pytest.raises(ResearchError) as reading:
        store.read("Mine")
    assert "secret" not in str(failure(ErrorCode.INVALID_ARGUMENT, reading))
    with pytest.raises(ResearchError) as writing:
        store.write("Mine", CODE, overwrite=True)
    failure(ErrorCode.INVALID_ARGUMENT, writing)
    with pytest.raises(ResearchError):
        store.delete("Mine")
    assert (outside / "__init__.py").read_text() == "secret"


@pytest.mark.parametrize("link", ["__init__.py", "helper.py", "data.json", "deep"])
def test_a_file_linked_from_outside_is_refused(
    store: FolderStrategyStore, root: Path, tmp_path: Path, link: str
) -> None:
    folder = put_strategy(root, "Mine")
    target = tmp_path / "outside"
    target.mkdir() if link == "deep" else target.write_text("secret")
    (folder / link).unlink(missing_ok=True)
    (folder / link).symlink_to(target)
    with pytest.raises(ResearchError) as caught:
        store.source(frozenset({"Mine"}))
    failure(ErrorCode.INVALID_ARGUMENT, caught)


def test_the_strategies_folder_itself_must_not_lead_outside(
    store: FolderStrategyStore, root: Path, tmp_path: Path
) -> None:
    outside = put_strategy(tmp_path / "outside", "Mine").parent
    root.mkdir()
    (root / "strategies").symlink_to(outside)
    for attempt in (store.names, lambda: store.write("Mine", "x", overwrite=True)):
        with pytest.raises(ResearchError) as caught:
            attempt()
        failure(ErrorCode.INVALID_ARGUMENT, caught)
    assert (outside / "Mine" / "__init__.py").read_text() == CODE


def test_links_inside_the_project_are_followed(store: FolderStrategyStore, root: Path) -> None:
    real = put_strategy(root, "Mine")
    (root / "strategies" / "Again").symlink_to(real)
    (real / "loop").symlink_to(real)
    assert store.read("Again") == CODE
    assert set(store.source(frozenset({"Again"})).files) == {"strategies/Again/__init__.py"}
    store.delete("Again")
    assert store.read("Mine") == CODE


def test_deleting_does_not_follow_links(store: FolderStrategyStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("untouched")
    folder = put_strategy(root, "Mine")
    (folder / "link").symlink_to(outside)
    store.delete("Mine")
    assert (outside / "sentinel").read_text() == "untouched"


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe\0", "not UTF-8"), (b"#" * (MIB + 1), "larger than")]
)
def test_what_is_no_source_text_is_refused(
    store: FolderStrategyStore, root: Path, content: bytes, said: str
) -> None:
    (put_strategy(root, "Mine") / "__init__.py").write_bytes(content)
    with pytest.raises(ResearchError, match=said) as caught:
        store.read("Mine")
    failure(ErrorCode.STRATEGY_INVALID, caught)


@pytest.mark.parametrize("code", ["\ud800", "#" * (MIB + 1)])
def test_code_that_cannot_be_stored_is_refused(store: FolderStrategyStore, code: str) -> None:
    with pytest.raises(ResearchError) as caught:
        store.write("Mine", code, overwrite=False)
    failure(ErrorCode.INVALID_ARGUMENT, caught)
    assert "Mine" not in store.names()


def test_a_failing_write_leaves_what_was_there(
    store: FolderStrategyStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("Mine", CODE, overwrite=False)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("Mine", "Other"):
        with pytest.raises(ResearchError, match="No space left") as caught:
            store.write(name, "new", overwrite=True)
        failure(ErrorCode.STORAGE_FAILED, caught)
    assert store.read("Mine") == CODE
    assert {path.name for path in (root / "strategies").iterdir()} == {"Mine", ".lock"}
    assert {path.name for path in (root / "strategies" / "Mine").iterdir()} == {"__init__.py"}


def test_a_folder_that_cannot_be_read_is_a_storage_failure(
    store: FolderStrategyStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_strategy(root, "Mine")

    def denied(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ResearchError, match="Permission denied") as caught:
        store.names()
    failure(ErrorCode.STORAGE_FAILED, caught)


def test_a_lock_that_is_held_is_a_storage_failure(root: Path) -> None:
    (root / "strategies").mkdir(parents=True)
    with FileLock(root / "strategies" / ".lock"), pytest.raises(ResearchError, match="lock") as caught:
        FolderStrategyStore(root, lock_seconds=0.01).write("Mine", CODE, overwrite=False)
    failure(ErrorCode.STORAGE_FAILED, caught)


def test_a_folder_that_cannot_be_made_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResearchError) as caught:
        FolderStrategyStore(tmp_path / "file").write("Mine", CODE, overwrite=False)
    failure(ErrorCode.STORAGE_FAILED, caught)


WRITER = """
import sys
from pathlib import Path
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.domain.errors import ResearchError

store, name = FolderStrategyStore(Path(sys.argv[1])), sys.argv[2]
sys.stdin.readline()
try:
    store.write(name, "# " + name, overwrite=False)
    print("created")
except ResearchError as error:
    print(error.code.value)
"""


def test_of_many_writers_one_creates(root: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, root, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("Mine", "mine", "MINE", "Mine", "mine", "MINE")
    ]
    for writer in writers:  # released together, once each has started
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    answers = [writer.communicate()[0].strip() for writer in writers]
    assert sorted(answers) == ["created", *["strategy_exists"] * 5]
    names = [name for name, origin in FolderStrategyStore(root).names().items() if origin == "user"]
    assert len(names) == 1


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_strategies_say_what_they_do(store: FolderStrategyStore, name: str) -> None:
    classes = [node for node in ast.parse(store.read(name)).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes] == [name]
    text = ast.get_docstring(classes[0]) or ""
    for part in ("Idea:", "Entry:", "Exit:", "Risk:", "Fails:"):
        assert part in text

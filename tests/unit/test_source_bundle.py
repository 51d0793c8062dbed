"""The files a run takes along: a strategy's own, and what it imports from the project."""

from pathlib import Path

import pytest

from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError

CODE = "from jesse.strategies import Strategy\n\n\nclass Mine(Strategy):\n    pass\n"
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def store(root: Path) -> FolderStrategyStore:
    return FolderStrategyStore(root)


def put(root: Path, **files: str | bytes) -> None:
    """Files by path; ``__`` in a name stands for a slash, ``_dot_`` for a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_strategy(root: Path, name: str, code: str = CODE) -> Path:
    folder = root / "strategies" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_bytes(code.encode())
    return folder


def failure(code: ErrorCode, error: pytest.ExceptionInfo[ResearchError]) -> ResearchError:
    assert error.value.code is code
    assert error.value.hint
    return error.value


def test_modules_of_the_project_that_are_imported_come_along(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(
        root,
        "Mine",
        "import numpy as np\nimport custom_indicators.fast as fast\nfrom strategies.Base import Base\n"
        "from .helper import x\nimport tools\nfrom jesse import utils\n\nclass Mine(Base): pass\n",
    )
    put_strategy(root, "Base", "from strategies.Deep import Deep\n")
    put_strategy(root, "Deep", "from ..shared import y\n")
    put_strategy(root, "Unrelated")
    put(
        root,
        strategies__Mine__helper_dot_py="x = 1",
        strategies__Mine__sub__unused_dot_py="",
        strategies__Mine__levels_dot_json="{}",
        strategies__Mine__notes_dot_md="text",
        strategies__shared_dot_py="y = 1",
        custom_indicators__fast_dot_py="from . import slow",
        custom_indicators__slow_dot_py="import json",
        custom_indicators__unused_dot_py="",
        custom_indicators__table_dot_csv="1,2",
        tools_dot_py="import jesse\nfrom strategies.TrendFollowing import TrendFollowing",
        json__x_dot_py="",
        jesse__strategies_dot_py="",
        storage__file_dot_json="{}",
    )
    (root / "custom_indicators" / "__init__.py").write_text("")
    (root / "strategies" / "__init__.py").write_text("")
    assert set(store.source(frozenset({"Mine"})).files) == {
        "strategies/__init__.py",
        "strategies/Mine/__init__.py",
        "strategies/Mine/helper.py",
        "strategies/Mine/sub/unused.py",
        "strategies/Mine/levels.json",
        "strategies/Base/__init__.py",
        "strategies/Deep/__init__.py",
        "strategies/shared.py",
        "strategies/TrendFollowing/__init__.py",
        "custom_indicators/__init__.py",
        "custom_indicators/fast.py",
        "custom_indicators/slow.py",
        "custom_indicators/table.csv",
        "tools.py",
    }


def test_the_hash_follows_every_file_a_run_takes_along(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine", "import tools")
    put(root, tools_dot_py="x = 1", other_dot_py="x = 1")
    before = store.source(frozenset({"Mine"})).code_hash
    put(root, other_dot_py="x = 2")
    assert store.source(frozenset({"Mine"})).code_hash == before
    put(root, tools_dot_py="x = 2")
    assert store.source(frozenset({"Mine"})).code_hash != before


def test_code_that_cannot_be_parsed_still_comes_along(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine", "class (")
    assert store.source(frozenset({"Mine"})).files == {"strategies/Mine/__init__.py": "class ("}


def test_imports_beyond_the_top_are_no_concern(store: FolderStrategyStore, root: Path) -> None:
    put_strategy(root, "Mine", "from ..... import x\nfrom .. import Base\nimport strategies\nimport jesse.x")
    assert set(store.source(frozenset({"Mine"})).files) == {"strategies/Mine/__init__.py"}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("model.pkl", "class S:\n    def f(self): self.ml_predict()"),
        ("scaler.pkl", "class S:\n    def f(self): return self.ml_predict_proba()"),
        ("weights.bin", "open('data/weights.bin')"),
        ("big.csv", "PATH = 'big.csv'"),
    ],
)
def test_a_file_that_is_used_but_cannot_come_along_is_said(
    store: FolderStrategyStore, root: Path, file: str, code: str
) -> None:
    folder = put_strategy(root, "Mine", code)
    (folder / file).write_bytes(b"x" * (MIB + 1))
    with pytest.raises(ResearchError, match=file) as caught:
        store.source(frozenset({"Mine"}))
    failure(ErrorCode.CAPABILITY_MISSING, caught)


def test_files_nobody_uses_stay_behind(store: FolderStrategyStore, root: Path) -> None:
    folder = put_strategy(root, "Mine", '"""See notes.md and model.pkl"""\nx = 1')
    (folder / "notes.md").write_text("text")
    (folder / "model.pkl").write_bytes(b"\0")
    assert set(store.source(frozenset({"Mine"})).files) == {"strategies/Mine/__init__.py"}

"""The arrows of docs/architecture.md, checked on every import statement."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "jesse_mcp"

ALLOWED: dict[str, set[str]] = {
    "domain": {"domain"},
    "ports": {"ports", "domain"},
    "analytics": {"analytics"},
    "services": {"services", "ports", "domain", "analytics"},
    "adapters": {"adapters", "ports", "domain"},
    "engine_side": set(),
    "setting_values": set(),
    "settings": {"domain", "setting_values"},
    "unknown_variables": {"settings"},
    "backends": {"adapters", "services", "ports", "domain", "settings"},
    "composition": {"backends", "adapters", "services", "ports", "domain", "settings", "setting_values"},
    "server": {"server", "services", "domain", "settings", "unknown_variables", "composition"},
    "cli": {
        "cli",
        "server",
        "services",
        "domain",
        "settings",
        "setting_values",
        "unknown_variables",
        "composition",
        "adapters",
        "analytics",
    },
}
# The engine side runs where only Jesse's dependencies are installed.
ENGINE_SIDE_LIBRARIES = {"jesse", "numpy", "pydantic_core", "ray", "requests", "urllib3"}


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
    return found


MODULES = [p for p in sorted(ROOT.rglob("*.py")) if "bundled" not in p.parts]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_inward(path: Path) -> None:
    layer = layer_of(path)
    if layer in {"__init__", "__main__"}:
        return
    for name in imports(path):
        if name.split(".")[0] == "jesse_mcp" and name != "jesse_mcp":
            assert name.split(".")[1] in ALLOWED[layer], f"{layer} must not import {name}"


def test_engine_side_needs_only_jesse_and_the_standard_library() -> None:
    for path in (ROOT / "engine_side").rglob("*.py"):
        siblings = {p.stem for p in path.parent.glob("*.py")}
        for name in imports(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | ENGINE_SIDE_LIBRARIES | siblings, f"{path.name}: {name}"


def test_no_file_outgrows_its_job() -> None:
    for path in MODULES:
        assert len(path.read_text().splitlines()) < 400, f"{path} is too long"


def test_no_catch_all_modules() -> None:
    for path in MODULES:
        assert path.stem not in {"utils", "helpers", "manager", "common", "misc"}, path

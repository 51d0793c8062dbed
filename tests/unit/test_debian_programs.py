"""Programs for tests come from the path, else from packages, else it is said why not."""

from pathlib import Path

import pytest

from debian_programs import UnavailableError, program


def test_one_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "nginx"
    here.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("nginx", tmp_path / "cache").path == here
    assert not (tmp_path / "cache").exists()


def test_without_apt_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="nginx is not here, nor is its package: there is no apt-get"):
        program("nginx", tmp_path / "cache")


@pytest.mark.parametrize("failing", ["apt-get", "dpkg-deb"])
def test_a_package_that_is_not_had_leaves_nothing(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apt-get", "dpkg-deb"):
        here = tmp_path / "bin" / name
        here.parent.mkdir(exist_ok=True)
        says = "echo 'E: no archive' >&2; exit 100" if name == failing else ": > nginx.deb"
        here.write_text(f"#!/bin/sh\n{says}\n")
        here.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    cache = tmp_path / "cache"
    with pytest.raises(UnavailableError, match=f"{failing}: E: no archive"):
        program("nginx", cache)
    assert {path.name for path in cache.iterdir()} == {"apt", "lock"}

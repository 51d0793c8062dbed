"""A backup holds everything at one moment; a restore gives all of it back, or changes nothing."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.backup import home_archives, home_files
from jesse_mcp.adapters.backup.home_archives import LocalHomeArchives
from jesse_mcp.adapters.backup.postgres_options import options_of_postgres
from jesse_mcp.adapters.backup.records_copy import KNOWN_SCHEMA
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backups import BackupFile, BackupManifest
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.backups import BackupMade, BackupRestored, BackupService

VERSION = "0.0.1"
FILES = {
    "strategies/Trend/__init__.py": b"class Trend: ...\n",
    "helpers.py": b"",
    "reports/run-1.html": b"<p>" * 20_000,
    "tokens.json": b'{"tokens": []}',
}
KEPT_TO_ITSELF = (
    "logs/audit.jsonl",
    "candles/.mapped/abc.npy",
    "candles/binance/.BTC-USDT.parquet.lock",
    "candles/binance/.BTC-USDT.parquet.tmp",
    "strategies/.lock",
    "strategies/Trend/.write-abc",
    "strategies/.deleted-Old-1/__init__.py",
    "strategies/Trend/__pycache__/x.pyc",
    "reports/.report-abc",
    "tokens.json.new",
    "tokens.json.lock",
    ".replaced-abc/tokens.json",
)


def quiet(_done: int, _total: int) -> None:
    pass


def put(home: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return home


def content(home: Path) -> dict[str, bytes]:
    """Every file but the lock that a restore leaves, which is never removed."""
    paths = (path for path in home.rglob("*") if path.is_file() and path.name != ".restore.lock")
    return {str(path.relative_to(home)): path.read_bytes() for path in paths}


def service(home: Path, **options: Any) -> BackupService:
    home.mkdir(parents=True, exist_ok=True)
    return BackupService(LocalHomeArchives(home), home, VERSION, **options)


def back_up(home: Path, target: Path, **options: Any) -> BackupMade:
    return service(home, **options).back_up(target, quiet)


def restore(source: Path, home: Path, *, replace: bool = False, **options: Any) -> BackupRestored:
    return service(home, **options).restore(source, quiet, replace=replace)


def refusal(code: ErrorCode, work: Callable[[], object]) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        work()
    assert caught.value.code is code, caught.value.message
    assert caught.value.hint
    return caught.value


def invalid(work: Callable[[], object]) -> str:
    return refusal(ErrorCode.INVALID_ARGUMENT, work).message


def unstored(work: Callable[[], object]) -> str:
    return refusal(ErrorCode.STORAGE_FAILED, work).message


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = put(tmp_path / "home", FILES)
    (home / "tokens.json").chmod(0o600)
    database = Database.at(home / "research.sqlite")
    with database.writing():
        pass
    database.close()
    return home


@pytest.fixture
def backup(home: Path, tmp_path: Path) -> Path:
    back_up(home, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def test_everything_comes_back(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backup.tar")
    restored = restore(tmp_path / "backup.tar", tmp_path / "other")
    found = content(tmp_path / "other")
    assert {name: found[name] for name in FILES} == FILES
    assert set(found) == {*FILES, "research.sqlite"}
    assert (made.files, made.bytes) == (5, sum(map(len, found.values())))
    assert (restored.files, restored.bytes, restored.put_aside) == (made.files, made.bytes, None)
    assert made.schema_version == KNOWN_SCHEMA
    assert made.notes == restored.notes == ()
    assert stat.S_IMODE((tmp_path / "other" / "tokens.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "backup.tar").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "home", "other"]


def test_any_other_program_can_read_it(backup: Path, tmp_path: Path) -> None:
    """GNU tar reads what is in it, and its manifest has the hashes that sha256sum would say."""
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", backup, "-C", tmp_path / "out"], check=True)
    manifest = BackupManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_text())
    assert {file.path: file.sha256 for file in manifest.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in content(tmp_path / "out" / "home").items()
    }


def test_an_empty_home_has_an_empty_backup(tmp_path: Path) -> None:
    made = back_up(tmp_path / "home", tmp_path / "backup.tar")
    assert (made.files, made.bytes, made.schema_version) == (0, 0, None)
    assert restore(tmp_path / "backup.tar", tmp_path / "other").notes == (
        "there are no records in this backup",
    )
    assert content(tmp_path / "other") == {}


NAMES = st.lists(st.sampled_from(["a", "b c", "ü", "x.lock", "-n", "~", "c" * 120]), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES.map("/".join), st.binary(max_size=30_000), max_size=5))
def test_any_files_come_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    files = {name: data for name, data in files.items() if not any(o.startswith(f"{name}/") for o in files)}
    folder = tmp_path_factory.mktemp("any")
    back_up(put(folder / "home", files), folder / "backup.tar")
    restore(folder / "backup.tar", folder / "other")
    assert content(folder / "other") == files


def test_what_can_be_made_again_is_not_in_it(home: Path, tmp_path: Path) -> None:
    for name in KEPT_TO_ITSELF:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    made = back_up(home, tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    assert set(content(tmp_path / "other")) == {*FILES, "research.sqlite"}
    assert made.notes == ()


def test_what_vanishes_while_it_is_looked_at_is_no_failure(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every look into a folder: a file of it, and a folder of it, are gone."""
    put(home, {"strategies/gone.py": b"1", "strategies/Gone/__init__.py": b"1", "reports/gone.html": b"1"})
    look = os.scandir

    def looking(folder: Path) -> Any:
        found = list(look(folder))
        for entry in found:
            if entry.name == "Gone":
                shutil.rmtree(entry.path)
            elif entry.name.startswith("gone"):
                Path(entry.path).unlink()
        return nullcontext(found)

    monkeypatch.setattr(home_files, "os", SimpleNamespace(scandir=looking))
    back_up(home, tmp_path / "backup.tar")
    monkeypatch.undo()
    restore(tmp_path / "backup.tar", tmp_path / "other")
    assert set(content(tmp_path / "other")) == {*FILES, "research.sqlite"}


def test_links_are_not_followed_and_said(home: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret", {"sentinel": b"sentinel-link"})
    (home / "strategies" / "Linked").symlink_to(tmp_path / "secret")
    (home / "link.py").symlink_to(tmp_path / "secret" / "sentinel")
    os.mkfifo(home / "pipe")
    made = back_up(home, tmp_path / "backup.tar")
    (note,) = made.notes
    assert note.endswith("link.py, pipe, strategies/Linked")
    assert b"sentinel-link" not in (tmp_path / "backup.tar").read_bytes()


def test_records_are_of_one_moment_while_somebody_writes(home: Path, tmp_path: Path) -> None:
    """Each transaction writes a pair; no copy has half of one, and none waits for the writer to end."""
    stop, begun = threading.Event(), threading.Event()
    with closing(sqlite3.connect(home / "research.sqlite")) as connection:
        connection.execute("CREATE TABLE pairs (n INTEGER, filler BLOB)")

    def write() -> None:
        with closing(sqlite3.connect(home / "research.sqlite", timeout=30)) as connection:
            number = 0
            while not stop.is_set():
                with connection:
                    for _ in range(2):
                        connection.execute("INSERT INTO pairs VALUES (?, randomblob(3000))", (number,))
                number += 1
                if number == 5:
                    begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(30)
        for number in range(5):
            back_up(home, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writer.join()
    counts = []
    for number in range(5):
        restore(tmp_path / f"{number}.tar", tmp_path / f"home-{number}")
        with closing(sqlite3.connect(tmp_path / f"home-{number}" / "research.sqlite")) as connection:
            rows = connection.execute("SELECT n, count(*) FROM pairs GROUP BY n").fetchall()
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {count for _, count in rows} == {2}
        counts.append(len(rows))
    assert counts == sorted(counts)
    assert counts[0] >= 5


def test_candles_come_back_with_the_pages_that_are_not_merged_yet(home: Path, tmp_path: Path) -> None:
    key = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
    rows = synthetic_candles(1_704_067_200_000, 300, 3)
    store = ParquetCandleStore(home / "candles")
    store.write(key, rows[:200], "file")
    store.append(key, rows[200:], "exchange", (int(rows[200, 0]), int(rows[-1, 0]) + 60_000))
    assert list((home / "candles").rglob("*.journal"))
    back_up(home, tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    assert ParquetCandleStore(tmp_path / "other" / "candles").summary(key) == store.summary(key)


def test_a_series_is_not_copied_while_it_is_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_archives, "_LOCK_SECONDS", 0.05)
    put(home, {"candles/binance-spot/BTC-USDT.parquet": b"x"})
    with FileLock(home / "candles" / "binance-spot" / ".BTC-USDT.parquet.lock"):
        assert "BTC-USDT" in unstored(lambda: back_up(home, tmp_path / "backup.tar"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("change", [b"more", None])
def test_a_file_that_changes_meanwhile_is_no_backup(home: Path, tmp_path: Path, change: bytes | None) -> None:
    path = home / "reports" / "run-1.html"

    def disturb(_done: int, _total: int) -> None:
        if change is None:
            os.truncate(path, 10)
        else:
            with path.open("ab") as file:
                file.write(change)

    message = unstored(lambda: service(home).back_up(tmp_path / "backup.tar", disturb))
    assert "reports/run-1.html was changed" in message
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_progress_ends_at_all_of_it(home: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = service(home).back_up(tmp_path / "backup.tar", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (made.bytes, made.bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    again: list[tuple[int, int]] = []
    service(tmp_path / "other").restore(tmp_path / "backup.tar", lambda *pair: again.append(pair))
    assert again[-1] == (made.bytes, made.bytes)


def test_where_a_backup_may_not_go(home: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("sentinel")
    (tmp_path / "into").symlink_to(home)
    assert "exists" in invalid(lambda: back_up(home, tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "sentinel"
    assert "home folder" in invalid(lambda: back_up(home, home / "backup.tar"))
    assert "home folder" in invalid(lambda: back_up(home, tmp_path / "into" / "backup.tar"))
    assert "no folder" in invalid(lambda: back_up(home, tmp_path / "none" / "backup.tar"))


def test_damaged_records_are_no_backup(home: Path, tmp_path: Path) -> None:
    path = home / "research.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40_000)
    unstored(lambda: back_up(home, tmp_path / "backup.tar"))
    path.write_bytes(b"no database at all" * 100)
    unstored(lambda: back_up(home, tmp_path / "backup.tar"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_home_that_is_not_empty_is_refused_unless_told(backup: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "other", {"strategies/Mine/__init__.py": b"mine", "extra": b"1"})
    assert "extra, strategies" in invalid(lambda: restore(backup, other))
    assert set(content(other)) == {"strategies/Mine/__init__.py", "extra"}
    restored = restore(backup, other, replace=True)
    assert restored.put_aside is not None
    assert content(other / restored.put_aside) == {"strategies/Mine/__init__.py": b"mine", "extra": b"1"}
    kept = {name for name in content(other) if not name.startswith(restored.put_aside)}
    assert kept == {*FILES, "research.sqlite"}


def test_a_home_that_a_server_uses_is_refused(backup: Path, home: Path) -> None:
    before = content(home)
    database = Database.at(home / "research.sqlite")
    try:
        with database.writing():
            pass
        assert "server uses" in unstored(lambda: restore(backup, home, replace=True))
    finally:
        database.close()
    assert {name: data for name, data in content(home).items() if "sqlite" not in name} == {
        name: data for name, data in before.items() if "sqlite" not in name
    }
    assert restore(backup, home, replace=True).put_aside


def test_damaged_records_can_be_replaced(backup: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "other", {"research.sqlite": b"no database at all" * 100})
    assert restore(backup, other, replace=True).put_aside


def test_one_restore_at_a_time(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with FileLock(tmp_path / "other" / ".restore.lock"):
        assert "another restore" in unstored(lambda: restore(backup, tmp_path / "other"))


def test_what_a_killed_restore_left_is_cleared_away(backup: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "other", {".restoring-dead/tokens.json": b"half"})
    restore(backup, other)
    assert set(content(other)) == {*FILES, "research.sqlite"}


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_a_restore_that_fails_half_way_is_undone(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    old = {"extra": b"1", "tokens.json": b"old"}
    other = put(tmp_path / "other", old)
    rename, calls = Path.rename, 0

    def failing(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    assert "busy" in unstored(lambda: restore(backup, other, replace=True))
    monkeypatch.undo()
    assert content(other) == old
    assert sorted(path.name for path in other.iterdir()) == [".restore.lock", "extra", "tokens.json"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_damage_comes_through(backup: Path, home: Path, place: float, flip: int) -> None:
    data = bytearray(backup.read_bytes())
    data[int(place * len(data))] ^= flip
    _is_refused_or_whole(bytes(data), backup, home)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0, 1, exclude_max=True))
def test_no_part_of_a_backup_comes_through(backup: Path, home: Path, kept: float) -> None:
    data = backup.read_bytes()
    _is_refused_or_whole(data[: int(kept * len(data))], backup, home)


def _is_refused_or_whole(data: bytes, backup: Path, home: Path) -> None:
    """Bytes between files mean nothing, so a change of them may pass; a change of content never."""
    damaged, other = backup.with_name("damaged.tar"), backup.with_name("other")
    shutil.rmtree(other, ignore_errors=True)
    damaged.write_bytes(data)
    refused: ResearchError | None = None
    try:
        restore(damaged, other)
    except ResearchError as error:
        refused = error
    if refused is not None:
        assert refused.code is ErrorCode.INVALID_ARGUMENT, refused.message
        assert content(other) == {}
    else:
        found = content(other)
        assert {name: found.pop(name) for name in FILES} == FILES
        with tarfile.open(backup) as tar:
            records = tar.extractfile("home/research.sqlite")
            assert records is not None
            assert found == {"research.sqlite": records.read()}


def test_what_is_no_backup_is_refused(home: Path, tmp_path: Path) -> None:
    for data in (b"", b"x" * 2000, b"\0" * 10240):
        (tmp_path / "none.tar").write_bytes(data)
        invalid(lambda: restore(tmp_path / "none.tar", tmp_path / "other"))
    unstored(lambda: restore(tmp_path / "missing.tar", tmp_path / "other"))
    unstored(lambda: restore(home, tmp_path / "other"))
    assert content(tmp_path / "other") == {}


def forged(path: Path, entries: list[tuple[str, bytes | tarfile.TarInfo]], **changes: Any) -> Path:
    """An archive that somebody made by hand, with a manifest that fits where it can."""
    files = tuple(
        BackupFile(
            path=name,
            bytes=len(data) if isinstance(data, bytes) else data.size,
            sha256=hashlib.sha256(data if isinstance(data, bytes) else b"").hexdigest(),
        )
        for name, data in entries
    )
    facts: dict[str, Any] = {"version": "9.9.9", "created_at": "now", "schema_version": None, "left_out": ()}
    manifest = BackupManifest(files=files, **facts).model_dump(mode="json") | changes
    with tarfile.open(path, "w") as tar:
        for name, data in [*entries, ("", json.dumps(manifest).encode())]:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo()
            info.name = f"home/{name}" if name else "manifest.json"
            if isinstance(data, bytes):
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


def test_a_forged_backup_that_does_nothing_bad_is_restored(tmp_path: Path) -> None:
    """So the refusals below are for what is bad in them."""
    restore(forged(tmp_path / "good.tar", [("a/b", b"1")]), tmp_path / "other")
    assert content(tmp_path / "other") == {"a/b": b"1"}


@pytest.mark.parametrize(
    "name",
    [
        *("../sentinel", "a/../../sentinel", "..", "/sentinel", "a//b", "./a", "a/.", "", "a\nb", "a\0b"),
        *("research.sqlite-wal", ".restore.lock", "logs/audit.jsonl", ".replaced-x/a", "candles/.mapped/a"),
    ],
)
def test_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "sentinel").write_text("untouched")
    name = name.replace("/sentinel", f"{tmp_path}/sentinel") if name.startswith("/") else name
    archive = forged(tmp_path / "bad.tar", [("fine", b"1"), (name, b"overwritten")])
    invalid(lambda: restore(archive, tmp_path / "other"))
    assert content(tmp_path / "other") == {}
    assert (tmp_path / "sentinel").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "other", "sentinel"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_only_files_are_restored(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "sentinel").write_text("untouched")
    link = tarfile.TarInfo()
    link.type, link.linkname = kind, str(tmp_path / "sentinel")
    archive = forged(tmp_path / "bad.tar", [("strategies", link), ("strategies/x", b"overwritten")])
    invalid(lambda: restore(archive, tmp_path / "other"))
    assert content(tmp_path / "other") == {}


def test_a_manifest_has_to_be_true(tmp_path: Path) -> None:
    one = {"path": "a", "bytes": 1, "sha256": hashlib.sha256(b"1").hexdigest()}
    lies: tuple[dict[str, Any], ...] = (
        {"files": []},
        {"files": [one, one]},
        {"files": [one, {**one, "path": "b"}]},
        {"files": [{**one, "bytes": 2}]},
        {"files": [{**one, "sha256": "0" * 64}]},
        {"files": [{**one, "more": 1}]},
        {"schema_version": 1},
        {"format": "x"},
    )
    for changes in lies:
        archive = forged(tmp_path / "bad.tar", [("a", b"1")], **changes)
        invalid(lambda archive=archive: restore(archive, tmp_path / "other"))  # type: ignore[misc]
        assert content(tmp_path / "other") == {}, changes


def test_what_a_newer_program_made_is_refused(home: Path, tmp_path: Path) -> None:
    archive = forged(tmp_path / "new.tar", [("a", b"1")], format=2)
    error = refusal(ErrorCode.INVALID_ARGUMENT, lambda: restore(archive, tmp_path / "other"))
    assert "format 2" in error.message
    assert "9.9.9" in str(error.hint)
    with closing(sqlite3.connect(home / "research.sqlite")) as connection, connection:
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", (KNOWN_SCHEMA + 1,))
    back_up(home, tmp_path / "backup.tar")
    message = invalid(lambda: restore(tmp_path / "backup.tar", tmp_path / "other"))
    assert f"version {KNOWN_SCHEMA + 1}, this jesse-mcp knows {KNOWN_SCHEMA}" in message
    records = (home / "research.sqlite").read_bytes()
    liar = forged(tmp_path / "liar.tar", [("research.sqlite", records)], schema_version=1)
    assert "schema version" in invalid(lambda: restore(liar, tmp_path / "other"))
    assert content(tmp_path / "other") == {}


def test_without_room_nothing_is_begun(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "1,000 are free" in unstored(lambda: restore(backup, tmp_path / "other"))
    assert content(tmp_path / "other") == {}


FULL = """
import resource, sys
from jesse_mcp.cli.main import main
limit = int(sys.argv.pop())
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = ["jesse-mcp", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(("command", "room"), [("backup", 20_000), ("backup", 200_000), ("restore", 20_000)])
def test_a_full_disk_leaves_nothing_half_done(
    backup: Path, home: Path, tmp_path: Path, command: str, room: int
) -> None:
    """A limit on the size of a file refuses a write half way, as a full disk does.

    The copy of the records is larger than the first limit, the whole backup than the second.
    """
    assert 20_000 < (home / "research.sqlite").stat().st_size < 200_000 < backup.stat().st_size
    used = home if command == "backup" else tmp_path / "other"
    before = sorted(path.name for path in tmp_path.iterdir())
    target = tmp_path / "second.tar" if command == "backup" else backup
    done = subprocess.run(
        [sys.executable, "-c", FULL, command, target, str(room)],
        env={**os.environ, "JESSE_MCP_HOME": str(used)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("storage_failed: "), done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"other"} == set(before)
    assert command == "backup" or content(used) == {}


def test_records_in_postgres_are_named_and_not_in_it(home: Path, tmp_path: Path) -> None:
    database = options_of_postgres("postgresql+psycopg://me:sentinel-secret@db.example.org:5433/desk")
    made = back_up(home, tmp_path / "backup.tar", database=database, dashboard=True)
    dump, jesse = made.notes
    where = "--host=db.example.org --port=5433 --username=me --dbname=desk"
    assert dump.endswith(f": pg_dump --format=custom --file=records.dump {where}")
    assert "JESSE_URL" in jesse
    restored = restore(tmp_path / "backup.tar", tmp_path / "other", database=database)
    assert restored.notes[0].endswith(f": pg_restore --clean --if-exists {where} records.dump")
    assert set(content(tmp_path / "other")) == set(FILES)
    back_up(home, tmp_path / "with.tar")
    assert "JESSE_MCP_DATABASE_URL" in invalid(
        lambda: restore(tmp_path / "with.tar", tmp_path / "third", database=database)
    )
    assert options_of_postgres("postgresql+psycopg:///desk?host=/run/pg") == [
        "--host=/run/pg",
        "--dbname=desk",
    ]

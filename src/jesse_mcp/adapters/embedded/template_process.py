"""The server's end of the template process: start it, fork workers from it, hear of their ends."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.strays import kill_strays
from jesse_mcp.adapters.embedded.worker_process import Exit, LogPipe, LogTail, Worker
from jesse_mcp.domain.errors import ErrorCode, ResearchError

ENGINE_SIDE = Path(__file__).parents[2] / "engine_side"

_START_SECONDS = 120.0
_SPAWN_SECONDS = 30.0
#: For the template to bury what it has started, more than it gives itself. Nobody else finds all of that, and
#: the runs beside go with a template that is killed: one that is merely slow is waited for.
_BURIAL_SECONDS = 8.0
_LOG_SECONDS = 1.0
_SETTLE_SECONDS = 2.0


class TemplateProcess:
    """One template and the workers forked from it. Use :meth:`start`; end with :meth:`close`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sender: socket.socket,
        scratch: Path,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._sender = sender
        self.scratch = scratch
        self.versions: dict[str, str] = {}
        #: What this machine can hold a run to: ``files`` and ``system_calls``.
        self.confinement: dict[str, bool] = {}
        self.log = LogTail()
        self._spawned: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._next = 0
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log_task: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, python: Path, scratch: Path, environment: Mapping[str, str]) -> "TemplateProcess":
        """Start a template and wait until Jesse is loaded.

        Raises:
            ResearchError: ``engine_failed`` with the end of its output.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                str(python),
                "-s",
                "-B",
                str(ENGINE_SIDE / "template.py"),
                str(theirs.fileno()),
                str(scratch),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd=scratch,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except BaseException as error:
            ours.close()
            if not isinstance(error, OSError):
                raise
            raise ResearchError(
                ErrorCode.ENGINE_FAILED,
                f"the engine could not be started: {error.strerror}",
                hint="run `jesse-mcp engine status`",
            ) from error
        finally:
            theirs.close()
        ours.setblocking(False)
        sender = ours.dup()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        template = cls(process, reader, writer, sender, scratch)
        template._log_task = asyncio.create_task(template._read_log())
        template._listener = asyncio.create_task(template._listen())
        try:
            async with asyncio.timeout(_START_SECONDS):
                await template._ready
        except BaseException as error:
            await template.close()
            if isinstance(error, TimeoutError):
                raise template._failure("did not finish loading Jesse in time") from error
            raise
        return template

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._reader.at_eof() and not self._sender_closed

    @property
    def _sender_closed(self) -> bool:
        return self._sender.fileno() == -1

    @property
    def pid(self) -> int:
        return self._process.pid

    async def spawn(self, *, prime: bool) -> Worker:
        """Fork a worker; it is usable at once and starts its run as soon as it can.

        Raises:
            ResearchError: ``engine_failed`` when the template is gone.
        """
        loop = asyncio.get_running_loop()
        number = self._next
        self._next += 1
        ours, theirs = socket.socketpair()
        log_read, log_write = os.pipe()
        spawned, exited = loop.create_future(), loop.create_future()
        self._spawned[number], self._exits[number] = spawned, exited
        request = json.dumps({"op": "spawn", "id": number, "prime": prime}).encode() + b"\n"
        try:
            socket.send_fds(self._sender, [request], [theirs.fileno(), log_write])
        except OSError as error:
            ours.close()
            os.close(log_read)
            raise self._failure("is gone") from error
        finally:
            theirs.close()
            os.close(log_write)
        # Both only register descriptors with the loop; waiting begins after them.
        try:
            log = await LogPipe.attach(log_read)
        except BaseException:
            # A worker that does come finds its channel closed and leaves.
            ours.close()
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            async with asyncio.timeout(_SPAWN_SECONDS):
                pid = await asyncio.shield(spawned)
        except BaseException as error:
            writer.close()
            log.close()
            if isinstance(error, TimeoutError):
                raise self._failure("does not answer") from error
            raise
        worker = Worker(number, pid, reader, writer, exited, log)
        exited.add_done_callback(worker.orphaned)
        return worker

    async def end(self, worker: Worker) -> Exit | None:
        """Kill the worker's whole group if it still runs, and wait until the template has buried it.

        ``None`` when the template itself is gone, with everything it had started.
        """
        worker.writer.close()
        try:
            if not worker.exited.done():
                await self._kill(worker)
            return await asyncio.shield(worker.exited)
        except (ResearchError, TimeoutError):
            await asyncio.to_thread(kill_strays, self.scratch)
            return None
        finally:
            # The dead hold no pipe open: what they printed is read to its end.
            await worker.log.end(_LOG_SECONDS)

    async def settle(self, worker: Worker) -> Exit | None:
        """Let a worker that has answered leave by itself, then :meth:`end` what is left of it."""
        await asyncio.wait([worker.exited], timeout=_SETTLE_SECONDS)
        return await self.end(worker)

    async def _kill(self, worker: Worker) -> None:
        """Through the template, which knows whether the number still is that worker's.

        Raises:
            TimeoutError: a strategy has stopped or killed the template, which is gone now.
        """
        request = json.dumps({"op": "kill", "id": worker.number}).encode() + b"\n"
        try:
            self._sender.send(request)
            async with asyncio.timeout(_BURIAL_SECONDS):
                await asyncio.shield(worker.exited)
        except (OSError, TimeoutError):
            _kill_group(self.pid)
            raise TimeoutError from None

    async def close(self) -> None:
        """End the template and everything below it; idempotent."""
        self._sender.close()
        self._writer.close()
        if self._process.returncode is None:
            # One that is still loading Jesse has started nothing, and would hear of the end only after.
            patience = _BURIAL_SECONDS if self.versions else 0.0
            try:
                async with asyncio.timeout(patience):
                    await self._process.wait()
            except TimeoutError:
                _kill_group(self.pid)
                await self._process.wait()
        tasks = [task for task in (self._log_task, self._listener) if task is not None]
        # Both end by themselves, and the listener first tells all who wait for a worker.
        await asyncio.wait(tasks, timeout=2 * _LOG_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(kill_strays, self.scratch)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._heard(json.loads(line))
        except ConnectionError:
            # It was killed before it had read all we sent.
            pass
        finally:
            await self._mourn()

    def _heard(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "ready":
                self.versions = {"jesse": message["jesse"], "python": message["python"]}
                self.confinement = dict(message["confinement"])
                self._ready.set_result(None)
            case "spawned":
                _settle(self._spawned.pop(message["id"]), message["pid"])
            case "refused":
                error = self._failure(f"cannot fork: {message['reason']}")
                _refuse(self._spawned.pop(message["id"]), error)
                self._exits.pop(message["id"]).cancel()
            case "exited":
                outcome = Exit(message["code"], message["signal"], message["max_rss_kb"], message["killed"])
                _settle(self._exits.pop(message["id"]), outcome)

    async def _mourn(self) -> None:
        """It is gone: nothing more will be heard of any worker."""
        self._sender.close()
        if self._log_task is not None:
            # Its last words say why it ended.
            await asyncio.wait([self._log_task], timeout=_LOG_SECONDS)
        words = self.log.text().strip().splitlines()
        failure = self._failure("ended unexpectedly" + (f": {words[-1][:500]}" if words else ""))
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._spawned.values(), *self._exits.values()]
        for future in waiting:
            _refuse(future, failure)

    async def _read_log(self) -> None:
        stream = self._process.stdout
        while stream is not None and (chunk := await stream.read(65536)):
            self.log.add(chunk)

    def _failure(self, what: str) -> ResearchError:
        return ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"the engine process {what}",
            hint="call again: it is started anew; if this repeats, run `jesse-mcp doctor`",
            details={"log_tail": self.log.text()[-4000:]},
        )


def _settle(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _refuse(future: "asyncio.Future[Any]", error: ResearchError) -> None:
    if not future.done():
        future.set_exception(error)
        # Not every worker has someone waiting for it.
        future.exception()


def _kill_group(leader: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue

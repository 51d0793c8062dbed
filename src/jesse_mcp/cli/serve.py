"""``jesse-mcp serve``: the MCP server on stdio or HTTP."""

import asyncio
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.settings import Settings

if TYPE_CHECKING:
    from fastmcp import FastMCP

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: For answers that are being given when a signal comes; jobs are ended whatever time it takes.
_GRACE_SECONDS = 2
#: An idle connection is the client's to close: when the server does, a request may be on its way to it.
#: Clients keep theirs for 5 to 60 seconds.
_KEEP_ALIVE_SECONDS = 75


def register(app: App) -> None:
    app.command(serve)


async def serve(
    *,
    transport: Literal["stdio", "http"] = "stdio",
    host: Annotated[
        str | None, Parameter(help="for http, the address to listen on; default: 127.0.0.1")
    ] = None,
    port: Annotated[int | None, Parameter(help="for http, 0 picks a free one; default: 8765")] = None,
    stateless: Annotated[bool, Parameter(help="for http, without sessions", negative="")] = False,
) -> None:
    """Serve MCP: on stdio for a client that starts this command, or as streamable HTTP at /mcp.

    Parameters
    ----------
    transport
        stdio or http.
    """
    settings = Settings()
    if transport == "http":
        await _serve_http(_with_options(settings, host, port, stateless))
        return
    for given, option in (
        (host is not None, "--host"),
        (port is not None, "--port"),
        (stateless, "--stateless"),
    ):
        if given:
            raise _invalid(f"{option} means nothing on stdio", "add --transport http, or leave it out")

    from jesse_mcp.composition import Application, open_traces
    from jesse_mcp.server.assembly import build_server
    from jesse_mcp.server.http.asgi import THREADS
    from jesse_mcp.server.log_output import set_up_logging, warn_of_unknown_variables

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    # After the framework is loaded, which sets up logging of its own.
    close_log = set_up_logging(settings)
    try:
        warn_of_unknown_variables()
        await _serve_stdio(build_server(Application(settings, open_traces(settings))))
    finally:
        await asyncio.to_thread(close_log)


def _with_options(settings: Settings, host: str | None, port: int | None, stateless: bool) -> Settings:
    changes = {"host": host, "port": port, "stateless": stateless or None}
    return settings.model_copy(update={name: value for name, value in changes.items() if value is not None})


async def _serve_stdio(server: "FastMCP") -> None:
    stop = _interruptible_standard_input()
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.run_stdio_async(show_banner=False)


def _interruptible_standard_input() -> Callable[[], None]:
    """Put a socket in the place of standard input; the function returned ends it, as a client would.

    The server reads its input in a thread that no signal can interrupt. Ending the input makes every way
    to stop the same one, which closes what the server has started.
    """
    try:
        real = os.dup(0)
    except OSError:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            "there is no standard input to serve on",
            hint="let an MCP client start this command (`jesse-mcp client-config`), or add --transport http",
        ) from None
    ours, theirs = socket.socketpair()
    with theirs:
        os.dup2(theirs.fileno(), 0)
    threading.Thread(target=_copy, args=(real, ours), name="standard input", daemon=True).start()

    def stop() -> None:
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    return stop


def _copy(source: int, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := os.read(source, 65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


async def _serve_http(settings: Settings) -> None:
    alone = _is_loopback(settings.host)
    listener = _listener(settings, alone)
    answer_at_once(listener)

    # Nobody on stdio waits for them.
    import uvicorn

    # Before signals wait for a start to be undone: until then they just end the process.
    import jesse_mcp.server.assembly  # noqa: F401
    from jesse_mcp.server.http.asgi import AsgiApplication

    app = AsgiApplication(settings, this_machine_only=alone)
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        # The application does that itself, whatever it is served by.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # Whoever reads the line may call, and send a signal, at once.
            where = f"serving MCP at http://{shown}:{port}/mcp"
            Console(stderr=True, highlight=False).print(where, soft_wrap=True)

    _stop_gently()
    with suppress(asyncio.CancelledError):
        await Announced(config).serve(sockets=[listener])
    if app.failure is not None:
        raise app.failure


def answer_at_once(listener: socket.socket) -> None:
    """Let no part of an answer wait until the client has confirmed the part before, which takes it 40 ms.

    Connections inherit it. asyncio asks for it only where a socket was made with the name of its protocol.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _stop_gently() -> None:
    """A signal lets everything close.

    While uvicorn serves it handles SIGTERM and SIGINT itself, and raises them again when it is done, which
    must not end the process before the jobs and the engine are closed. Before it serves, the start is
    cancelled. In between, a signal may have come before uvicorn's handlers and be heard of here after them:
    then it is raised once more, as the one that uvicorn does not take for impatience.
    """
    task = asyncio.current_task()
    seen = False

    def stop(number: signal.Signals) -> None:
        nonlocal seen
        if seen:
            return
        seen = True
        if getattr(signal.getsignal(number), "__name__", "") == "handle_exit":
            signal.raise_signal(signal.SIGTERM)
        elif task is not None:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)


def _listener(settings: Settings, alone: bool) -> socket.socket:
    """A listening socket.

    Raises:
        ResearchError: ``invalid_argument`` for an address that others reach without a token, or a taken one.
    """
    host, port = settings.host, settings.port
    if not 0 <= port <= 65535:
        raise _invalid(f"--port is {port}", "give 1 to 65535, or 0 for a free one")

    from jesse_mcp.composition import open_tokens
    from jesse_mcp.server.http.asgi import check_reach

    tokens = open_tokens(settings)
    try:
        check_reach(settings, tokens, this_machine_only=alone)
    except ResearchError as error:
        if alone or error.code is not ErrorCode.INVALID_ARGUMENT:
            raise
        raise _invalid(
            f"refusing to listen on {host} without a token: anyone who reaches it could run code here",
            "make one with `jesse-mcp token create NAME --scope read research`, or use 127.0.0.1",
        ) from error
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return _patient_for(settings.request_timeout, socket.create_server((address, port), family=family))
    except OSError as error:
        # The name of a host that nobody knows has numbers of its own.
        unknown = isinstance(error, socket.gaierror)
        reason = error.strerror if unknown else os.strerror(error.errno or 0)
        raise _invalid(
            f"cannot listen on {host} port {port}: {reason}",
            "give another --port, or 0 for a free one",
        ) from error


def _patient_for(seconds: float, listener: socket.socket) -> socket.socket:
    """``listener``, whose connections end when the other side takes nothing of an answer for ``seconds``.

    Only the kernel knows that. Where it is not Linux such a connection lasts as long as its client.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(seconds * 1000)))
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)

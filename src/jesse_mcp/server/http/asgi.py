"""The server as an ASGI application, for ``jesse-mcp serve`` and for any program that serves one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.heap import give_memory_back, keep_what_is_there
from jesse_mcp.services.tokens import TokenService
from jesse_mcp.settings import Settings

#: For what blocks; an import of a large file may hold one for minutes.
THREADS = 32


class AsgiApplication:
    """Made without reading or starting anything: that begins with the lifespan of the program that serves.

    Args:
        settings: read from the environment at that time when not given.
        this_machine_only: whether only this machine can reach the address it is served on. Another program
            does not say, so tokens are asked for.
    """

    def __init__(self, settings: Settings | None = None, *, this_machine_only: bool = False) -> None:
        self._settings = settings
        self._this_machine_only = this_machine_only
        self._app: ASGIApp | None = None
        self.failure: ResearchError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None:
            raise RuntimeError("jesse-mcp was not started: serve it with the ASGI lifespan on")
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                self._app = await self._open(stack)
            except ResearchError as error:
                self.failure = error
                said = f"{error.code}: {error.message}" + (f" ({error.hint})" if error.hint else "")
                await send({"type": "lifespan.startup.failed", "message": said})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._app = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, stack: AsyncExitStack) -> ASGIApp:
        settings = Settings() if self._settings is None else self._settings
        give_memory_back()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))

        from jesse_mcp.composition import Application, open_tokens, open_traces
        from jesse_mcp.server.http.application import build_http_application
        from jesse_mcp.server.log_output import set_up_logging, warn_of_unknown_variables

        # After the framework is loaded, which sets up logging of its own.
        stack.push_async_callback(asyncio.to_thread, set_up_logging(settings))
        warn_of_unknown_variables()
        tokens = open_tokens(settings)
        check_reach(settings, tokens, this_machine_only=self._this_machine_only)
        web = build_http_application(Application(settings, open_traces(settings)), tokens)
        await stack.enter_async_context(web.lifespan)
        keep_what_is_there()
        return web.app


def asks_for_tokens(settings: Settings, tokens: TokenService) -> bool:
    """Whether requests need one: as soon as there ever was one, or somebody is trusted to issue them.

    Raises:
        ResearchError: ``storage_failed``.
    """
    return settings.jwt_jwks_url is not None or tokens.any_known()


def check_reach(settings: Settings, tokens: TokenService, *, this_machine_only: bool) -> None:
    """Refuse to be reachable by others without anything that tells friends from strangers.

    Raises:
        ResearchError: ``invalid_argument``, ``storage_failed``.
    """
    if settings.jwt_jwks_url is not None or tokens.any_usable():
        return
    if this_machine_only and tokens.any_known():
        return
    reached_by_others = not this_machine_only or settings.allowed_hosts or settings.trusted_proxies
    if reached_by_others:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            "refusing to be reached by others without a token: anyone who does could run code here",
            hint="make one with `jesse-mcp token create NAME --scope read research`, then start again",
        )

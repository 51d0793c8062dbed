"""The server of ``bare_server.py`` on HTTP, as ours is served: ``bare_http_server.py PORT``.

The tokens, apart by spaces, come from the environment. They are looked up by the framework's own verifier;
what we do besides (expiry, revocation, scopes, limits, records) is to be seen as the difference.
"""

import os
import sys
from pathlib import Path

import uvicorn
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

TOKENS = "BARE_TOKENS"


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.bare_server import build

    server = build()
    given = enumerate(os.environ[TOKENS].split())
    server.auth = StaticTokenVerifier(
        {token: {"client_id": f"c{n}", "scopes": ["read"]} for n, token in given}
    )
    app = server.http_app(path="/mcp", json_response=False, stateless_http=False, host_origin_protection=True)
    config = uvicorn.Config(
        app,
        port=int(sys.argv[1]),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()

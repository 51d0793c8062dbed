"""Whether the server keeps to the protocol, judged by programs of others.

    ./dev run python benchmarks/conformance.py [--reports FOLDER]

MCP's conformance suite runs against a server over HTTP, with and without sessions, in the words of every
revision that both know; mcpscore audits one as it is on a machine of one's own, and one with TLS and a token.
Both programs are downloaded into the cache, the suite with npm. Nothing of Jesse is needed.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from benchmarks.conformance_command import main

    sys.exit(main(__doc__))

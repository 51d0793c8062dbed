"""The site of deploy/nginx.conf as a configuration that any user can run."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme

from debian_programs import Program
from mcp_desk import wait_until

NAME = "desk.example.org"
SITE = Path(__file__).parents[1] / "deploy" / "nginx.conf"
_SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def configuration(
    folder: Path, *, servers: Sequence[str] = ("127.0.0.1:8765",), ports: tuple[int, int] | None = None
) -> Path:
    """Written to ``folder`` with the certificate of its own authority, ``ca.pem``.

    Args:
        folder: gets everything that nginx writes.
        servers: addresses of those behind it.
        ports: of this machine to listen on, without and with TLS; those of the site when not given.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "desk.pem")
    certificate.private_key_pem.write_to_path(folder / "desk.key")
    site = SITE.read_text().replace("/etc/ssl/", f"{folder}/")
    site = site.replace("server 127.0.0.1:8765;", " ".join(f"server {server};" for server in servers))
    if ports is not None:
        site = site.replace("listen 80;", f"listen 127.0.0.1:{ports[0]};")
        site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{ports[1]} ssl;")
    (folder / "site.conf").write_text(site)
    scratch = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in _SCRATCH)
    whole = folder / "nginx.conf"
    whole.write_text(
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n    access_log {folder}/access.log;\n{scratch}    include {folder}/site.conf;\n}}\n"
    )
    return whole


@contextmanager
def proxied(nginx: Program, folder: Path, servers: Sequence[str]) -> Iterator[tuple[int, int]]:
    """nginx in front of servers; its ports without and with TLS."""
    ports = free_ports()
    whole = configuration(folder, servers=servers, ports=ports)
    options = ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(whole)]
    user = ["-g", "daemon off; user root;"] if os.getuid() == 0 else ["-g", "daemon off;"]
    process = subprocess.Popen(
        [nginx.path, *options, *user], env=nginx.environment, stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", ports[1])):
            return True
        return False

    try:
        wait_until(listens, "nginx listening")
        yield ports
    finally:
        process.terminate()
        process.wait()


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]

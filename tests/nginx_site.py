"""The site of deploy/nginx.conf as a configuration that any user can run."""

from pathlib import Path

import trustme

NAME = "desk.example.org"
SITE = Path(__file__).parents[1] / "deploy" / "nginx.conf"
_SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def configuration(
    folder: Path, *, server: str = "127.0.0.1:8765", ports: tuple[int, int] | None = None
) -> Path:
    """Written to ``folder`` with the certificate of its own authority, ``ca.pem``.

    Args:
        folder: gets everything that nginx writes.
        server: address of the server behind it.
        ports: of this machine to listen on, without and with TLS; those of the site when not given.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "desk.pem")
    certificate.private_key_pem.write_to_path(folder / "desk.key")
    site = SITE.read_text().replace("/etc/ssl/", f"{folder}/").replace("127.0.0.1:8765", server)
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

"""What the value of a setting may be; each function returns it as it is used, or raises ValueError."""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

#: A name or an address; a star may stand for what is before two names at least.
_HOST = re.compile(r"(\*\.[a-z0-9-]+\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]*:[0-9a-f:]+", re.IGNORECASE)
#: Strict, so that no part of a password that needs %XX is taken for a host or a name, and shown.
_DATABASE = re.compile(
    r"postgresql(\+psycopg)?://([^/?#@:\s]+(:[^/?#@:\s]*)?@)?(\[[\da-f:]+\]|[\w.-]*)(:\d{1,5})?/[^/?#@\s]+(\?[^#\s]*)?"
)
_THIS_MACHINE = {"127.0.0.1", "::1", "localhost"}


def apart(value: object) -> object:
    """Several values apart by commas."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def dashboard_address(value: str) -> str:
    address = urlsplit(value.strip())
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise ValueError("give http://HOST:PORT or https://HOST")
    if address.username or address.password or address.query or address.fragment:
        raise ValueError("give the address alone: secrets belong in JESSE_PASSWORD or JESSE_API_TOKEN")
    if address.port == 0:  # reading it checks the others
        raise ValueError("Port out of range 1-65535")
    return address.geturl().rstrip("/")


def host(value: str) -> str:
    # A lone star would switch the protection off.
    if not _HOST.fullmatch(value):
        raise ValueError(f"{value!r} is no host: give names like desk.example.org or *.example.org")
    return value


def origin(value: str) -> str:
    """A scheme, a host and perhaps a port, and nothing else."""
    address = urlsplit(value)
    plain = f"{address.scheme}://{address.netloc}" == value and "@" not in value
    if address.scheme not in {"http", "https"} or not plain or not _HOST.fullmatch(address.hostname or ""):
        raise ValueError(f"{value!r} is no origin: give https://HOST or https://HOST:PORT")
    return value


def network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        if "host bits" not in str(error):
            raise ValueError(f"{value!r} is no address and no network such as 10.0.0.0/8") from None
        whole = ipaddress.ip_network(value, strict=False)
        raise ValueError(
            f"{value} is an address within a network: give {whole} for all of it, or the address alone"
        ) from None
    if ipaddress.ip_network(value).prefixlen == 0:
        raise ValueError(f"{value} is everybody: name the addresses of your proxies")
    return value


def key_address(value: str) -> str:
    if not is_safe_address(value):
        raise ValueError("give https://HOST/PATH: keys that come over plain HTTP may be anybody's")
    return value


def public_address(value: str) -> str:
    """The origin that clients know a server by."""
    if not is_safe_address(origin(value)):
        raise ValueError("give https://HOST: tokens that go over plain HTTP may be anybody's")
    return value


def is_safe_address(value: str) -> bool:
    """Whether nobody else can read what is sent there."""
    address = urlsplit(value)
    here = address.scheme == "http" and address.hostname in _THIS_MACHINE
    return bool(address.hostname) and (address.scheme == "https" or here)


def database_address(value: str) -> str:
    if not _DATABASE.fullmatch(value):
        raise ValueError("give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; / # ? @ : as %XX within")
    return value


def cluster_address(value: str | None) -> None:
    """Only where it is used: other programs read RAY_ADDRESS too, and take more forms of it."""
    if value is None:
        raise ValueError("JESSE_MCP_ENGINE=ray needs RAY_ADDRESS")
    if value == "auto":
        return
    name, _, port = value.rpartition(":")
    if not name or "/" in value or not port.isdigit():
        raise ValueError(
            f"RAY_ADDRESS is {value!r}: give HOST:PORT of the head node, or auto on a node of the cluster"
        )


def collector_address(general: str | None, own: str | None, protocol: str | None) -> str:
    """Where spans go, by the rules of OpenTelemetry for its OTLP exporters."""
    name = "OTEL_EXPORTER_OTLP_ENDPOINT" if own is None else "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    if protocol not in {None, "http/protobuf"}:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and this server speaks http/protobuf")
    address = urlsplit(own or general or "")
    if address.scheme not in {"http", "https"} or not address.hostname or address.port == 0:
        raise ValueError(f"{name} is no address such as http://HOST:4318")
    if address.username is not None or address.password is not None:
        raise ValueError(f"{name} holds a user name: secrets belong in OTEL_EXPORTER_OTLP_HEADERS")
    whole = address.geturl()
    return whole if own is not None else f"{whole.rstrip('/')}/v1/traces"


def paths(value: str | None) -> tuple[str, ...]:
    """Those of a list as in PATH."""
    return tuple(path for path in (value or "").split(os.pathsep) if path)


def content(name: str, path: Path) -> str:
    """A file's text without the line ends that editors add."""
    try:
        text = path.read_text().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the file of {name}, {path}, cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file of {name}, {path}, is no UTF-8 text") from None
    if not text:
        raise ValueError(f"the file of {name}, {path}, is empty")
    return text

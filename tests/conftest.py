"""What every test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jesse_host import JesseHost, running_jesse
from jesse_mcp.adapters.embedded.provision import install
from jesse_mcp.settings import Settings

#: Seconds; the first test on a fresh machine downloads Jesse.
FIRST_INSTALLATION = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            "engine_python" in getattr(item, "fixturenames", ())
            and item.get_closest_marker("timeout") is None
        ):
            item.add_marker(pytest.mark.timeout(FIRST_INSTALLATION))


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """A Python with Jesse: ``JESSE_PYTHON``, or the managed environment in the user's normal cache.

    Installed by whichever test process asks first; the others wait for it.
    """
    settings = Settings()
    return install(settings.cache, settings.jesse_python, lambda _message: None).python


@pytest.fixture(scope="session")
def jesse_host(engine_python: Path) -> Iterator[JesseHost]:
    """A running Jesse that tests share; one that harms it starts its own."""
    with running_jesse(engine_python) as host:
        yield host

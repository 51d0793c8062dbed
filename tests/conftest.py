"""What every test may ask for."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from sqlalchemy import URL

from debian_programs import Program, UnavailableError, program
from jesse_host import JesseHost, running_jesse
from jesse_mcp.adapters.embedded.provision import install
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.server.log_output import DISCREET, QUIETENED
from jesse_mcp.settings import Settings
from postgres_host import Place, PostgresHost, running_postgres

#: Seconds; the first test on a fresh machine downloads Jesse.
FIRST_INSTALLATION = 1800


def pytest_configure() -> None:
    # What a machine takes for an example is no property of the code; the first one may import a library.
    # The same examples each time, but for constants of what happens to be imported, so what a run says is
    # about the change that it is for; `pytest --hypothesis-profile=exploring` looks for others.
    hypothesis_settings.register_profile("exploring", deadline=None)
    hypothesis_settings.register_profile("repeatable", deadline=None, derandomize=True)
    hypothesis_settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            "engine_python" in getattr(item, "fixturenames", ())
            and item.get_closest_marker("timeout") is None
        ):
            item.add_marker(pytest.mark.timeout(FIRST_INSTALLATION))


def pytest_collection_finish() -> None:
    # Thousands of tests are no garbage: nothing that collects it has to look through them every time.
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """How a test sets up a server's log is not there for the next one."""
    loggers = [logging.getLogger(name) for name in ("", *DISCREET, *QUIETENED)]
    before = [(each, each.level, each.propagate) for each in loggers]
    yield
    for each, level, propagate in before:
        each.setLevel(level)
        each.propagate = propagate


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


@pytest.fixture(scope="session")
def postgres_host() -> Iterator[PostgresHost]:
    """A running PostgreSQL that tests share, each with a schema of its own."""
    with ExitStack() as stack:
        try:
            host = stack.enter_context(running_postgres())
        except RuntimeError as error:
            pytest.skip(f"PostgreSQL cannot run here: {error}")
        yield host


def _program(name: str) -> Program:
    try:
        return program(name)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def nginx() -> Program:
    return _program("nginx")


@pytest.fixture(scope="session")
def logrotate() -> Program:
    return _program("logrotate")


@pytest.fixture(scope="session")
def prometheus() -> Program:
    return _program("prometheus")


@pytest.fixture(scope="session")
def promtool() -> Program:
    return _program("promtool")


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Writes seconds down, for the report of the tests and for ``pytest -rP``."""

    def write(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 3))
        print(f"{what}: {seconds:.3f} s")

    return write


@pytest.fixture
def postgresql(postgres_host: PostgresHost) -> Iterator[Place]:
    """Empty records on PostgreSQL."""
    with postgres_host.schema() as url:
        place = Place(url)
        yield place
        place.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Empty records, in a file and on PostgreSQL."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgresql")
        return
    place = Place(URL.create("sqlite", database=str(tmp_path / "records.db")))
    yield place
    place.close()


@pytest.fixture
def records(place: Place) -> Database:
    return place.open()

"""The ``jesse-mcp`` command."""

import sys
from collections.abc import Iterator

from cyclopts import App
from pydantic import ValidationError
from rich.console import Console

from jesse_mcp import __version__
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.settings import Settings, variable


def build_app() -> App:
    """Every command. Imported here, not above: most need few of the libraries of the others."""
    from jesse_mcp.cli import (
        backtest,
        backup,
        candles,
        client_config,
        demo,
        doctor,
        engine,
        jobs,
        monte_carlo,
        optimize,
        report,
        serve,
        token,
        walk_forward,
    )

    app = App(
        name="jesse-mcp",
        help="A quantitative research desk on the Jesse trading framework, served over MCP.",
        version=__version__,
    )
    studies = (backtest, optimize, walk_forward, monte_carlo, report)
    for module in (demo, doctor, serve, token, engine, candles, *studies, jobs, backup, client_config):
        module.register(app)
    return app


def main() -> None:
    """Run the command line; an expected error is two lines and exit status 1."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        result = build_app()(sys.argv[1:])
    except ResearchError as error:
        errors.print(f"{error.code}: {error.message}", style="bold red")
        if error.hint:
            errors.print(error.hint)
        sys.exit(1)
    except ValidationError as error:
        for line in _explained(error):
            errors.print(line, style="bold red")
        if error.title == Settings.__name__:
            errors.print("correct the environment variable, or unset it for the default")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


def _secret_settings() -> set[str]:
    fields = Settings.model_fields.items()
    return {f"setting {variable(name)}" for name, field in fields if "SecretStr" in str(field.annotation)}


def _explained(error: ValidationError) -> Iterator[str]:
    """What is wrong, in the words of the person who set it; what was received, unless it may be secret."""
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        received = f"; received {problem['input']!r}"
        if error.title == Settings.__name__:
            where = f"setting {variable(where)}" if where else "settings"
            if not where.startswith("setting JESSE_MCP_") or where in _secret_settings():
                received = ""
        # What pydantic puts before the words of a validator of ours.
        yield f"invalid {where}: {problem['msg'].removeprefix('Value error, ')}{received}"

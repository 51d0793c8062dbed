"""Every setting, read from the environment once, in one place."""

import os
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """``JESSE_MCP_*`` variables; ``JESSE_PYTHON`` keeps the name other Jesse tools know."""

    model_config = SettingsConfigDict(
        env_prefix="JESSE_MCP_", extra="ignore", frozen=True, env_ignore_empty=True, populate_by_name=True
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("jesse-mcp", appauthor=False)),
        description="strategies, candles, runs and jobs",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("jesse-mcp", appauthor=False)),
        description="the engine environment and other things that can be made again",
    )
    jesse_python: Path | None = Field(
        default=None,
        validation_alias="JESSE_PYTHON",
        description="a Python that has Jesse installed; unset means the managed environment",
    )
    workers: int = Field(
        default_factory=lambda: max(1, os.cpu_count() or 1), ge=1, le=256, description="runs at the same time"
    )
    run_timeout: float = Field(default=3600.0, gt=0, description="seconds one run may take")
    run_memory_mb: int = Field(default=4096, ge=64, description="memory one run may add, in MiB")
    prewarm: bool = Field(default=True, description="load Jesse when the server starts, not at the first run")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="what goes to standard error"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("home", "cache", "jesse_python")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))  # noqa: PTH100


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "JESSE_PYTHON" if name.lower() == "jesse_python" else f"JESSE_MCP_{name.upper()}"

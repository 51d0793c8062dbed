"""Column types that keep on PostgreSQL what SQLite keeps."""

import re
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

# PostgreSQL's text holds every character but NUL. The sign that stands for it must not look like itself.
_MARK = "\x1a"
_MARKED = re.compile(f"{_MARK}([01])")


class Words(TypeDecorator[str]):
    """Text of any length, compared and sorted by code points in every database and locale."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        on_postgresql = dialect.name == "postgresql"
        return dialect.type_descriptor(Text(collation="C") if on_postgresql else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace(_MARK, f"{_MARK}1").replace("\0", f"{_MARK}0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return _MARKED.sub(lambda found: _MARK if found[1] == "1" else "\0", value)

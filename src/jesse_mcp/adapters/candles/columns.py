"""Which column of a table is the timestamp, the open, the high and so on."""

import re
from dataclasses import dataclass

import polars as pl

from jesse_mcp.adapters.candles.tables import Table, invalid

_ALIASES = {
    "open": {"open", "o", "openprice"},
    "close": {"close", "c", "closeprice"},
    "high": {"high", "h", "highprice"},
    "low": {"low", "l", "lowprice"},
    "volume": {"volume", "vol", "v", "basevolume", "volumebase", "basevol"},
}
_TIMESTAMPS = {
    "timestamp", "timestamps", "time", "date", "datetime", "ts", "t", "unix", "unixtime", "unixtimestamp",
    "epoch", "opentime", "opentimestamp", "starttime", "starttimestamp", "begin", "timestampms", "unixms",
    "timems", "timestamputc", "timeutc", "dateutc", "datetimeutc", "utc", "windowstart", "candlebegintime",
}  # fmt: skip
#: Volume in a named currency, for example ``Volume BTC`` and ``Volume USDT`` side by side.
_VOLUME_OF = re.compile(r"vol(?:ume)?([a-z0-9]{2,10})")
_HINT = "name the columns timestamp, open, high, low, close, volume, each once"


@dataclass(frozen=True)
class Columns:
    """Positions in a table. Several ``timestamps`` must turn out to agree, or make one together."""

    timestamps: tuple[int, ...]
    prices: dict[str, int]

    @property
    def used(self) -> set[int]:
        return {*self.timestamps, *self.prices.values()}


def find_columns(name: str, table: Table) -> Columns:
    """Positions by role; names are compared without case, blanks and punctuation.

    Raises:
        ResearchError: ``candles_invalid`` when a role has no column or more than one.
    """
    plain = [re.sub(r"[^a-z0-9]", "", column.lower()) for column in table.names]
    prices: dict[str, int] = {}
    missing: list[str] = []
    for role, aliases in _ALIASES.items():
        found = [i for i, column in enumerate(plain) if column in aliases]
        if role == "volume" and not found:
            found = _base_volume(table, plain)
        if len(found) > 1:
            raise _ambiguous(name, role, [table.names[i] for i in found])
        if found:
            prices[role] = found[0]
        else:
            missing.append(role)
    timestamps = _timestamps(table, plain)
    if not timestamps:
        missing.insert(0, "timestamp")
    if missing:
        raise invalid(
            name,
            f"no column for {', '.join(missing)}; of {len(table.names)} columns are known: "
            f"{_known(timestamps, prices) or 'none'}",
            _HINT,
            {"missing": missing},
        )
    return Columns(timestamps, prices)


def _timestamps(table: Table, plain: list[str]) -> tuple[int, ...]:
    named = tuple(i for i, column in enumerate(plain) if column in _TIMESTAMPS)
    if named:
        return named
    # A table indexed by time often has no name for its index, which is then the first column.
    if plain[0] in ("", "unnamed0"):
        return (0,)
    typed = tuple(i for i, column in enumerate(table.columns) if isinstance(column.dtype, pl.Datetime))
    return typed if len(typed) == 1 else ()


def _base_volume(table: Table, plain: list[str]) -> list[int]:
    """Of volumes named after a currency, that of the currency the symbol column begins with."""
    found = {i: match[1] for i, column in enumerate(plain) if (match := _VOLUME_OF.fullmatch(column))}
    if len(found) > 1 and "symbol" in plain:
        symbols = table.columns[plain.index("symbol")].drop_nulls().head(1).to_list()
        symbol = re.sub(r"[^a-z0-9]", "", str(symbols[0]).lower()) if symbols else ""
        base = [i for i, currency in found.items() if symbol.startswith(currency)]
        return base or list(found)
    return list(found)


def _known(timestamps: tuple[int, ...], prices: dict[str, int]) -> str:
    """By number: the names of the others may be the content of a file that has no header."""
    found = [*(("timestamp", i) for i in timestamps), *prices.items()]
    return ", ".join(f"{role} (column {i + 1})" for role, i in sorted(found, key=lambda one: one[1]))


def _ambiguous(name: str, role: str, columns: list[str]) -> Exception:
    return invalid(name, f"{_listed(tuple(columns))} could each be the {role}", _HINT)


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(column[:40]) for column in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")

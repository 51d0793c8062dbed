"""Dated falls of crypto markets: when they were, and how far prices fell where no candles are stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

TABLE_CONVENTION = (
    "table: largest fall from one daily close (UTC, in USD) to a later one within the window, after "
    "CoinMarketCap's daily closes as Yahoo Finance lists them, rounded to a percent; other exchanges differ "
    "by about one percent, and within a day prices fell further"
)
#: Currencies a price in which is a price in USD, give or take a percent.
DOLLARS = frozenset({"USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI", "PERP"})


@dataclass(frozen=True)
class TableFall:
    """Two daily closes in USD and their dates, written down, not measured here."""

    peak_date: str
    peak: float
    trough_date: str
    trough: float

    @property
    def fall(self) -> float:
        """A positive fraction, rounded to a percent."""
        return round(1 - self.trough / self.peak, 2)


@dataclass(frozen=True)
class Crisis:
    """A window of whole UTC days, ``end`` exclusive, and table values by base currency."""

    name: str
    title: str
    start: str
    end: str
    falls: Mapping[str, TableFall]

    @property
    def start_ms(self) -> int:
        return _midnight(self.start)

    @property
    def end_ms(self) -> int:
        return _midnight(self.end)

    def table_fall(self, symbol: str) -> TableFall | None:
        """The table value of ``BASE-QUOTE``; ``None`` without one, or for a quote that is no dollar."""
        base, _, quote = symbol.partition("-")
        return self.falls.get(base) if quote in DOLLARS else None


def _midnight(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 1000


def _crisis(name: str, title: str, start: str, end: str, **falls: TableFall) -> Crisis:
    return Crisis(name, title, start, end, MappingProxyType(falls))


#: Oldest first. A currency is left out where no daily closes were at hand to check it with.
CRISES: tuple[Crisis, ...] = (
    _crisis(
        "top_2017",
        "end of the bull market of 2017",
        "2017-12-16",
        "2018-02-07",
        BTC=TableFall("2017-12-16", 19_497.40, "2018-02-05", 6_955.27),
        ETH=TableFall("2018-01-13", 1_396.42, "2018-02-05", 697.95),
    ),
    _crisis(
        "bear_2018",
        "bear market of 2018",
        "2017-12-16",
        "2018-12-17",
        BTC=TableFall("2017-12-16", 19_497.40, "2018-12-15", 3_236.76),
        ETH=TableFall("2018-01-13", 1_396.42, "2018-12-14", 84.31),
    ),
    _crisis(
        "covid_2020",
        "COVID crash around 2020-03-12",
        "2020-03-07",
        "2020-03-17",
        BTC=TableFall("2020-03-07", 8_909.95, "2020-03-12", 4_970.79),
        ETH=TableFall("2020-03-07", 237.85, "2020-03-16", 110.61),
        BNB=TableFall("2020-03-07", 20.1796, "2020-03-16", 9.3861),
        XRP=TableFall("2020-03-07", 0.23707, "2020-03-12", 0.13964),
        ADA=TableFall("2020-03-07", 0.048945, "2020-03-12", 0.023961),
        LINK=TableFall("2020-03-07", 4.3446, "2020-03-16", 1.7799),
    ),
    _crisis(
        "china_ban_2021",
        "China's ban and the flush of leverage around 2021-05-19",
        "2021-05-11",
        "2021-05-24",
        BTC=TableFall("2021-05-11", 56_704.57, "2021-05-23", 34_770.58),
        ETH=TableFall("2021-05-11", 4_168.70, "2021-05-23", 2_109.58),
        BNB=TableFall("2021-05-11", 672.33, "2021-05-23", 262.95),
        XRP=TableFall("2021-05-18", 1.5907, "2021-05-23", 0.7970),
        ADA=TableFall("2021-05-16", 2.3091, "2021-05-23", 1.3254),
        LINK=TableFall("2021-05-11", 48.7548, "2021-05-23", 20.0084),
    ),
    _crisis(
        "terra_2022",
        "collapse of Terra and LUNA",
        "2022-05-04",
        "2022-05-13",
        BTC=TableFall("2022-05-04", 39_698.37, "2022-05-11", 28_936.36),
        ETH=TableFall("2022-05-04", 2_940.64, "2022-05-12", 1_961.70),
        SOL=TableFall("2022-05-04", 92.7709, "2022-05-12", 44.6836),
    ),
    _crisis(
        "celsius_2022",
        "Celsius stops withdrawals, Three Arrows Capital fails",
        "2022-06-06",
        "2022-06-19",
        BTC=TableFall("2022-06-06", 31_370.67, "2022-06-18", 19_017.64),
        ETH=TableFall("2022-06-06", 1_859.29, "2022-06-18", 993.64),
        SOL=TableFall("2022-06-06", 42.4331, "2022-06-13", 28.1924),
    ),
    _crisis(
        "ftx_2022",
        "collapse of FTX",
        "2022-11-05",
        "2022-11-22",
        BTC=TableFall("2022-11-05", 21_282.69, "2022-11-21", 15_787.28),
        ETH=TableFall("2022-11-05", 1_627.97, "2022-11-09", 1_100.17),
        SOL=TableFall("2022-11-05", 36.7658, "2022-11-21", 11.8462),
    ),
    _crisis(
        "yen_carry_2024",
        "unwinding of the yen carry trade around 2024-08-05",
        "2024-08-01",
        "2024-08-08",
        BTC=TableFall("2024-08-01", 65_357.50, "2024-08-05", 53_991.46),
        ETH=TableFall("2024-08-01", 3_201.56, "2024-08-07", 2_336.59),
        SOL=TableFall("2024-08-01", 167.6721, "2024-08-05", 129.8643),
    ),
    _crisis(
        "liquidations_2025",
        "cascade of liquidations on 2025-10-10",
        "2025-10-09",
        "2025-10-12",
        BTC=TableFall("2025-10-09", 121_705.59, "2025-10-11", 110_807.88),
        ETH=TableFall("2025-10-09", 4_369.14, "2025-10-11", 3_750.61),
        SOL=TableFall("2025-10-09", 220.9911, "2025-10-11", 178.0542),
    ),
)

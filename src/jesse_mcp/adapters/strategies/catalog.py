"""The recorded catalog of the supported Jesse release."""

from pathlib import Path

from jesse_mcp.domain.catalog import JesseCatalog

#: Written by ``scripts/update-catalog``, never by hand.
CATALOG_FILE = Path(__file__).with_name("jesse_catalog.json")


def load_catalog() -> JesseCatalog:
    """What Jesse offers, without starting Jesse.

    Raises:
        OSError, pydantic.ValidationError: when the installed package is damaged.
    """
    return JesseCatalog.model_validate_json(CATALOG_FILE.read_bytes())

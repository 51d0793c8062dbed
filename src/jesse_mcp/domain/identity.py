"""Identifiers and timestamps of records."""

import base64
import secrets
from datetime import UTC, datetime


def new_id(prefix: str) -> str:
    """``prefix``, an underscore and twelve characters of lower-case base32: 60 random bits.

    Random rather than derived from the clock: several servers may share one store, and a record that
    sorts by age has a column for it.
    """
    token = base64.b32encode(secrets.token_bytes(8)).decode().lower()
    return f"{prefix}_{token[:12]}"


def iso_utc(seconds: float) -> str:
    """Epoch seconds as UTC with milliseconds (``2026-01-31T09:30:00.000Z``).

    Every record uses this form, so timestamps sort as text.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

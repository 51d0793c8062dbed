"""Arguments that tools of several kinds have."""

from typing import Annotated

from pydantic import Field

#: Of a page; more than any store holds, less than a database refuses to count to.
MAX_OFFSET = 1_000_000_000

Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET, description="how many to skip")]
Limit = Annotated[int, Field(ge=1, le=200, description="how many to show")]
Seed = Annotated[int, Field(description="same seed, same answer")]
Title = Annotated[str | None, Field(max_length=200, description="stored with the run")]

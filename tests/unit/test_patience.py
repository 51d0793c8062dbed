"""A database that is away for a moment costs no work, and is not waited for forever."""

import pytest

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.patience import patiently

AWAY = ResearchError(
    ErrorCode.STORAGE_FAILED, "it cannot be reached", hint="start it", details={"away": True}
)
FULL = ResearchError(ErrorCode.STORAGE_FAILED, "the disk is full", hint="free some")


class Call:
    def __init__(self, *errors: ResearchError) -> None:
        self.errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def test_a_database_that_comes_back_is_asked_again() -> None:
    call = Call(AWAY, AWAY)
    assert await patiently(call) == "answer"
    assert call.made == 3


@pytest.mark.parametrize(("error", "seconds"), [(FULL, 60.0), (AWAY, 0.0)])
async def test_what_does_not_pass_or_takes_too_long_is_said(error: ResearchError, seconds: float) -> None:
    call = Call(error)
    with pytest.raises(ResearchError) as caught:
        await patiently(call, seconds)
    assert caught.value is error
    assert call.made == 1

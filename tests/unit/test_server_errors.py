"""Every kind of failure of a tool leaves the server as the same kind of answer."""

import json
import logging
import math
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from mcp import MCPError
from mcp.types import MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import BaseModel, Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.server.errors import ErrorMiddleware, failed
from jesse_mcp.server.registration import add_tool


class Answer(Value):
    value: float | None = None


class Strict(BaseModel):
    number: int


def raising(error: BaseException) -> FastMCP:
    server = FastMCP("test", middleware=[ErrorMiddleware()])

    async def tool(count: Annotated[int, Field(ge=0, le=9)] = 0, ratio: float = 0) -> Answer:
        """A tool that fails."""
        raise error

    add_tool(server, tool, title="Tool")
    return server


async def answer_of(server: FastMCP, tool: str = "tool", **arguments: Any) -> dict[str, Any]:
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error
    content = result.structured_content
    assert content is not None
    assert list(content) == ["error"]
    assert json.loads(result.content[0].text) == content
    error: dict[str, Any] = content["error"]
    assert set(error) == {"code", "message", "hint", "details"}
    return error


@pytest.mark.parametrize("code", ErrorCode)
async def test_expected_errors_keep_everything_they_say(code: ErrorCode) -> None:
    error = ResearchError(code, "what happened", hint="what to do", details={"row": 3})
    assert await answer_of(raising(error)) == error.to_dict()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret-in-a-message"),
        KeyError("secret-in-a-message"),
        OSError(5, "secret-in-a-message"),
        TimeoutError("secret-in-a-message"),
        RecursionError("secret-in-a-message"),
        MemoryError(),
        AssertionError(),
        ToolError("secret-in-a-message"),
        ExceptionGroup("secret-in-a-message", [ValueError("inner")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_unexpected_errors_are_named_logged_and_not_quoted(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "jesse_mcp.server"):
        told = await answer_of(raising(error))
    assert told["code"] == "internal_error"
    assert type(error).__name__ in told["message"]
    assert "tool" in told["message"]
    assert told["hint"]
    assert "secret" not in json.dumps(told)
    assert any(record.exc_info for record in caplog.records), "the log has the traceback"


async def test_an_error_of_the_protocol_leaves_as_one() -> None:
    error = MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "needs sampling", {"requiredCapabilities": {}})
    async with Client(raising(error)) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("tool")
    assert (caught.value.code, caught.value.data) == (error.code, error.data)


async def test_a_validation_error_inside_a_tool_is_not_blamed_on_the_caller() -> None:
    with pytest.raises(ValueError, match="number") as caught:
        Strict.model_validate({"number": "many"})
    told = await answer_of(raising(caught.value))
    assert (told["code"], "ValidationError" in told["message"]) == ("internal_error", True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"colour": "red"}, ["colour", "'red'"]),
        ({"count": "many"}, ["count", "'many'"]),
        ({"count": 10}, ["count", "9", "10"]),
        ({"count": None}, ["count", "None"]),
        ({"ratio": []}, ["ratio", "[]"]),
    ],
)
async def test_wrong_arguments_are_named_with_what_was_received(
    arguments: dict[str, Any], says: list[str]
) -> None:
    told = await answer_of(raising(ValueError()), **arguments)
    assert told["code"] == "invalid_argument"
    assert all(word in told["message"] for word in says), told
    assert told["hint"] == "correct it and call tool again; its arguments are: count, ratio"
    assert told["details"]["problems"][0]["argument"] == next(iter(arguments))


async def test_a_missing_argument_is_named() -> None:
    server = FastMCP("test", middleware=[ErrorMiddleware()])

    async def tool(needed: str) -> Answer:
        """A tool with an argument."""
        return Answer(value=len(needed))

    add_tool(server, tool, title="Tool")
    assert "needed" in (await answer_of(server))["message"]


async def test_every_wrong_argument_is_listed() -> None:
    told = await answer_of(raising(ValueError()), count="many", ratio="some")
    assert [problem["argument"] for problem in told["details"]["problems"]] == ["count", "ratio"]


async def test_of_many_wrong_arguments_the_first_are_listed() -> None:
    unknown = {f"x{number}": number for number in range(500)}
    told = await answer_of(raising(ValueError()), "tool", **unknown)
    assert len(told["details"]["problems"]) == 20
    assert told["message"].endswith("(and 499 more)")


async def test_arguments_beyond_counting_are_refused_before_they_are_looked_at() -> None:
    told = await answer_of(
        raising(ValueError()), "tool", **{f"x{number}": number for number in range(60_000)}
    )
    assert told["code"] == "invalid_argument"
    assert "more than 50,000 entries" in told["message"]


async def test_an_unknown_tool_is_answered_with_those_there_are() -> None:
    told = await answer_of(raising(ValueError()), "tol")
    assert (told["code"], told["hint"]) == ("invalid_argument", "the tools are: tool")
    assert "'tol'" in told["message"]


async def test_an_answer_that_cannot_be_json_is_a_fault_of_the_server() -> None:
    server = FastMCP("test", middleware=[ErrorMiddleware()])

    class Loose(BaseModel):
        text: str

    async def tool() -> Loose:
        """A tool that answers with half a character."""
        return Loose(text="\ud800")

    add_tool(server, tool, title="Tool")
    assert (await answer_of(server))["code"] == "internal_error"


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ({"ratio": math.nan, "limit": math.inf}, {"ratio": None, "limit": None}),
        ({"path": Path("/x")}, {"path": "/x"}),
        ({"name": "file \udcff"}, {"name": "file ?"}),
        ({"deep": [{"nan": math.nan}, ("a", 1)]}, {"deep": [{"nan": None}, ["a", 1]]}),
    ],
)
def test_details_are_made_fit_for_json(details: dict[str, object], shown: dict[str, Any]) -> None:
    result = failed(ResearchError(ErrorCode.STORAGE_FAILED, "m \udcff", details=details))
    assert result.structured_content == {
        "error": {"code": "storage_failed", "message": "m ?", "hint": None, "details": shown}
    }
    text = result.content[0].model_dump()["text"]
    assert json.loads(text.encode()) == result.structured_content
    assert "NaN" not in text


def test_long_values_are_not_sent_back_whole() -> None:
    told = failed(ResearchError(ErrorCode.INVALID_ARGUMENT, "x" * 10_000, hint="y" * 10_000))
    assert told.structured_content is not None
    error = told.structured_content["error"]
    assert (len(error["message"]), len(error["hint"])) == (2001, 2001)


async def test_a_tool_says_what_it_returns() -> None:
    async def tool():  # type: ignore[no-untyped-def]  # noqa: ANN202, RUF100
        """A tool without a return type."""

    with pytest.raises(TypeError, match="does not say what it returns"):
        add_tool(FastMCP("test"), tool, title="Tool")

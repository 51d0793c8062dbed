"""The server over HTTP with the tools, prompts and resources beside its own that the conformance suite wants.

    python -m benchmarks.conformance_fixtures PORT

What a request goes through is ours, so a scenario that fails here, and would not without, is our fault.
"""

import asyncio
import base64
import json
import sys
from typing import Any
from unittest.mock import patch

from benchmarks import conformance_questions
from fastmcp import Context, FastMCP
from fastmcp.prompts import Message
from fastmcp.tools import FunctionTool
from fastmcp.utilities.types import Audio, Image
from mcp.types import EmbeddedResource, ImageContent, TextContent, TextResourceContents

from jesse_mcp.cli.serve import serve
from jesse_mcp.server.assembly import build_server
from jesse_mcp.server.http import application

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
_SILENCE = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
_TEXT = {"type": "string"}
_RARE_WORDS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": _TEXT}}},
    "properties": {
        "name": _TEXT,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": _TEXT,
        "email": _TEXT,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_IN_A_HEADER = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "query": _TEXT},
    "required": ["region"],
}


def main(port: int) -> None:
    def built(*arguments: Any, **named: Any) -> FastMCP:
        server = build_server(*arguments, **named)
        # As the SDK does by itself: one of the suite's tools has an argument in a header.
        server._mcp_server.get_tool_input_schema = None
        for add in (add_contents, add_messages, add_schemas, add_resources, add_prompts):
            add(server)
        conformance_questions.add(server)
        return server

    with patch.object(application, "build_server", built):
        asyncio.run(serve(transport="http", port=port))


def add_contents(server: FastMCP) -> None:
    """Tools whose answers are of every kind."""

    @server.tool
    def test_simple_text() -> str:
        """A text."""
        return "This is a simple text response for testing."

    @server.tool
    def test_image_content() -> Image:
        """A picture."""
        return Image(data=_PIXEL, format="png")

    @server.tool
    def test_audio_content() -> Audio:
        """A sound."""
        return Audio(data=_SILENCE, format="wav")

    @server.tool(output_schema=None)
    def test_embedded_resource() -> list[EmbeddedResource]:
        """A resource in the answer."""
        return [_embedded("test://embedded-resource")]

    @server.tool(output_schema=None)
    def test_multiple_content_types() -> list[Any]:
        """All in one."""
        text = TextContent(type="text", text="several kinds")
        return [text, _picture(), _embedded("test://mixed-content-resource")]


def add_messages(server: FastMCP) -> None:
    """Tools that tell more than their answers."""

    @server.tool
    def test_error_handling() -> str:
        """Fails."""
        raise RuntimeError("This tool intentionally returns an error for testing")

    @server.tool
    async def test_tool_with_logging(context: Context) -> str:
        """Messages of a log."""
        for message in ("started", "at work", "done"):
            await context.info(message)
        return "told"

    @server.tool
    async def test_tool_with_progress(context: Context) -> str:
        """Progress."""
        for done in (0, 50, 100):
            await context.report_progress(done, 100)
        return "done"


def add_schemas(server: FastMCP) -> None:
    """Tools whose schemas hold rare words."""

    async def called(name: str = "", region: str = "", query: str = "") -> str:
        return f"{name}{region}{query}"

    for name, schema in (("json_schema_2020_12_tool", _RARE_WORDS), ("test_x_mcp_header", _IN_A_HEADER)):
        described = f"A schema as {name} has it."
        server.add_tool(FunctionTool(fn=called, name=name, description=described, parameters=schema))


def add_resources(server: FastMCP) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return _PIXEL

    @server.resource("test://template/{key}/data", mime_type="application/json")
    def template(key: str) -> str:
        """By key."""
        return json.dumps({"id": key, "templateTest": True, "data": f"Data for ID: {key}"})


def add_prompts(server: FastMCP) -> None:
    @server.prompt
    def test_simple_prompt() -> str:
        """Without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """With two."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
        """With a resource in it."""
        return [Message(_embedded(resourceUri))]

    @server.prompt
    def test_prompt_with_image() -> list[Message]:
        """With a picture."""
        return [Message(_picture()), Message("What is this?")]

    @server.completion
    async def complete(*_: Any) -> list[str]:
        return []


def _embedded(uri: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type="text/plain", text="a resource")
    return EmbeddedResource(type="resource", resource=contents)


def _picture() -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(_PIXEL).decode(), mime_type="image/png")


if __name__ == "__main__":
    main(int(sys.argv[1]))

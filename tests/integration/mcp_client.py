"""A client of the official SDK, 1.x or 2.x, that tells a research story with every tool of a server.

``python mcp_client.py STORY.json``: how to reach the server and what to call, and the answers as JSON on
standard output. Run by whichever Python has the SDK of interest.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mcp
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


@contextlib.asynccontextmanager
async def connected(story: dict[str, Any]) -> AsyncIterator[Any]:
    """A client by the newest door the SDK has; both kinds list and call tools alike."""
    server: Any = story.get("url")
    if server is None:
        server = StdioServerParameters(
            command=story["command"][0], args=story["command"][1:], env=story["environment"]
        )
    if hasattr(mcp, "Client"):
        async with mcp.Client(server) as client:
            yield client
        return
    opened = streamable_http_client(server) if isinstance(server, str) else stdio_client(server)
    async with opened as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


def filled_in(value: Any, known: dict[str, Any]) -> Any:
    """``"$name"`` stands for something an earlier answer held."""
    if isinstance(value, str) and value.startswith("$"):
        return known[value[1:]]
    if isinstance(value, list):
        return [filled_in(item, known) for item in value]
    if isinstance(value, dict):
        return {name: filled_in(item, known) for name, item in value.items()}
    return value


def looked_up(answer: Any, path: str) -> Any:
    for step in path.split("."):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


async def tell(story: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    known: dict[str, Any] = {}
    async with connected(story) as client:
        tools = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)["tools"]
        for step in story["steps"]:
            result = await client.call_tool(step["tool"], filled_in(step["arguments"], known))
            answer = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            answers[step["name"]] = {
                "isError": bool(answer.get("isError")),
                "content": answer.get("structuredContent"),
                "text": answer["content"][0].get("text") if answer["content"] else None,
            }
            if step["remember"] and answer.get("isError"):
                raise SystemExit(f"{step['name']}: {answer['content'][0]['text']}")
            for name, path in step["remember"].items():
                known[name] = looked_up(answer["structuredContent"], path)
    return {"sdk": version("mcp"), "tools": tools, "answers": answers}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(tell(json.loads(Path(sys.argv[1]).read_text())))))

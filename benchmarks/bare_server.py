"""The smallest FastMCP server: what a call costs that does nothing."""

from fastmcp import FastMCP


def build() -> FastMCP:
    server: FastMCP = FastMCP("bare")

    async def nothing() -> dict[str, int]:
        """Answer with a constant."""
        return {"answer": 1}

    server.tool(nothing)
    return server


if __name__ == "__main__":
    build().run(transport="stdio", show_banner=False, log_level="ERROR")

"""The MCP face: tools, their schemas, and the mapping of errors."""

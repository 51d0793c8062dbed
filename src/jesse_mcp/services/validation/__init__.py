"""What can be said about a strategy from its source alone; nothing of it is executed."""

from jesse_mcp.services.validation.report import validate_source

__all__ = ["validate_source"]

"""A quantitative research desk on the Jesse trading framework, served over MCP."""

__version__ = "0.1.0"

"""``python -m jesse_mcp``."""

from jesse_mcp.cli.main import main

if __name__ == "__main__":
    main()

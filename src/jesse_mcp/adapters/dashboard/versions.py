"""Which Jesse is spoken to."""

from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: Every release of this minor version is accepted. Jesse changes its endpoints between minor versions.
SUPPORTED = "3.5"


def check_version(version: str) -> None:
    """Raises: ResearchError: ``jesse_unsupported`` for any other version."""
    if version.split(".")[:2] != SUPPORTED.split("."):
        raise ResearchError(
            ErrorCode.JESSE_UNSUPPORTED,
            f"the Jesse at JESSE_URL is version {version}; this server speaks to {SUPPORTED}.x",
            hint=f'install it with `pip install "jesse=={SUPPORTED}.*"` in the environment that runs Jesse, '
            "or unset JESSE_URL to use the embedded engine",
            details={"version": version, "supported": f"{SUPPORTED}.x"},
        )

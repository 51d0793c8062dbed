"""Where tokens are kept. Implementations block, for as long as a small local file takes."""

from typing import Protocol

from jesse_mcp.domain.access import TokenRecord


class TokenStore(Protocol):
    """Every method raises ``storage_failed`` when the file cannot be used."""

    def records(self) -> tuple[TokenRecord, ...]:
        """All there are, oldest first; what another process has just changed is seen."""
        ...

    def add(self, record: TokenRecord) -> None:
        """Raises: ResearchError: ``invalid_argument`` when one of that name is not revoked."""
        ...

    def revoke(self, name: str, at: float) -> TokenRecord:
        """Mark it as revoked at ``at`` (epoch seconds).

        Raises:
            ResearchError: ``invalid_argument`` when there is none that is not revoked.
        """
        ...

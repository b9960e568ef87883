"""What is told of blobs on their way; from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from carboy.oci.digest import Digest


class TransferProgress(Protocol):
    """Hears of each blob: that it begins, how many bytes went, and what came of it."""

    def begin(self, digest: Digest, size_bytes: int) -> None:
        """A blob of this size is under way."""
        ...

    def advance(self, digest: Digest, count: int) -> None:
        """So many more of its bytes are through; negative when they have to go again."""
        ...

    def end(self, digest: Digest, outcome: str) -> None:
        """It is done: "Pull complete" (with what was fetched, where that is less than all), "Already exists", "Pushed",
        "Layer already exists" or "Mounted from NAME".
        """
        ...


class SilentTransfer:
    """Tells nobody."""

    def begin(self, digest: Digest, size_bytes: int) -> None:
        """Say nothing."""

    def advance(self, digest: Digest, count: int) -> None:
        """Say nothing."""

    def end(self, digest: Digest, outcome: str) -> None:
        """Say nothing."""

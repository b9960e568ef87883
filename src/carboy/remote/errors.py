"""What can go wrong between this machine and a registry."""

from __future__ import annotations

from carboy.errors import CarboyError


class RegistryError(CarboyError):
    """A registry, ``registry`` by its name, answers with a failure (``status``, 0 without an answer)."""

    def __init__(self, brief: str, *, registry: str, status: int = 0, details: str = "", hint: str = "") -> None:
        super().__init__(brief, details=details, hint=hint)
        self.registry = registry
        self.status = status


class NotThereError(RegistryError):
    """The registry has nothing of that name."""


class DeniedError(RegistryError):
    """The registry does not let this person do that, or does not say whether the thing is there."""


class UnreachableError(RegistryError):
    """Nobody answers at the registry's address, or not in a way that can be trusted."""


class RestartError(Exception):
    """A blob is sent from its beginning, although the rest of it was asked for."""

"""What can go wrong when a sandbox is made."""

from __future__ import annotations

from carboy.errors import CarboyError


class SandboxError(CarboyError):
    """The sandbox could not be set up (125), or its command not executed (126) or not found (127)."""

    def __init__(self, operation: str, reason: str, *, hint: str = "", code: int = 125) -> None:
        super().__init__(f"{operation}: {reason}", hint=hint, code=code)
        self.operation = operation
        self.reason = reason

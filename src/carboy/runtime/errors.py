"""What can go wrong when a sandbox is made."""

from __future__ import annotations

from carboy.errors import CarboyError


class OutOfMemoryError(CarboyError):
    """The container ended because the kernel killed its process for want of memory: within its own limit, or the machine's.

    ``code`` is the exit status that it ended with (137).
    """

    def __init__(self, limit_bytes: int) -> None:
        limit = f"its limit is {limit_bytes / 2**20:g} MiB" if limit_bytes else "it has no limit of its own"
        super().__init__(
            "the container ran out of memory, and its process was killed",
            details=limit,
            hint="give it more with --memory, or let it use less: fewer workers, smaller batches",
            code=137,
        )


class SandboxError(CarboyError):
    """The sandbox could not be set up (125), or its command not executed (126) or not found (127)."""

    def __init__(self, operation: str, reason: str, *, hint: str = "", code: int = 125) -> None:
        super().__init__(f"{operation}: {reason}", hint=hint, code=code)
        self.operation = operation
        self.reason = reason

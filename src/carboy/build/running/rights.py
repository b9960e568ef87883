"""Rights that a Dockerfile cannot take by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.graph.ops import Run
    from carboy.build.graph.options import BuildOptions


def check_rights(op: Run, options: BuildOptions) -> None:
    """Raise ``CarboyError`` when a step asks for what nobody granted: the one gate that every RUN passes (CVE-2024-23653)."""
    needed = ""
    if op.security == "insecure":
        needed = "security.insecure"
    elif op.network == "host" and options.network != "host":
        needed = "network.host"
    if needed and needed not in options.entitlements:
        where = f" ({op.location})" if op.location is not None else ""
        raise CarboyError(
            f"{op.title or 'RUN'}{where} needs the entitlement {needed}",
            hint=f"grant it with --allow {needed}, if you trust the Dockerfile",
        )

"""Which repositories of R packages a machine uses: its environment's, those of its config.toml, else CRAN's public one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.base.config import FILE, read_table
from carboy.environments.r.repository import PUBLIC, VARIABLE
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_repositories(environ: Mapping[str, str], *, home: str) -> tuple[str, ...]:
    """Return the addresses to ask, in their order. Raises ``CarboyError`` (125) for a wrong table."""
    if environ.get(VARIABLE):
        return tuple(environ[VARIABLE].split())
    table = read_table("r", home=home)
    unknown = next((key for key in table if key != "repositories"), None)
    if unknown is not None:
        raise CarboyError(f"{home}/{FILE}: r has no {unknown[:100]!r}", hint="there is: repositories", code=125)
    found = table.get("repositories", [PUBLIC])
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise CarboyError(
            f"{home}/{FILE}: r.repositories must be a list of addresses",
            hint='write repositories = ["https://cran.example.org"] under [r]',
            code=125,
        )
    return tuple(found)

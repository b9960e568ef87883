"""The values of the room: which R packages are wanted, and who says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

CODE = (".R", ".r", ".Rmd", ".rmd", ".qmd")
"""Files with R's code in them, besides notebooks."""
INSTALL = "install.R"
RENV = "renv.lock"
PACKRAT = "packrat/packrat.lock"
DESCRIPTION = "DESCRIPTION"
FILES = (RENV, PACKRAT, DESCRIPTION, INSTALL)
"""Files that say which R packages a folder needs."""
# With R itself (r-base-core): nobody installs these.
BASE = frozenset(
    {
        "R", "base", "compiler", "datasets", "grDevices", "graphics", "grid", "methods", "parallel", "splines", "stats", "stats4",
        "tcltk", "tools", "utils",
    }
)  # fmt: skip


# "Writing R Extensions", 1.1.1.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*", re.ASCII)


def is_name(text: str) -> bool:
    """Return whether this can be a package's name; so it leads nowhere as a part of a path or an address."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RPackage:
    """A package that is wanted; ``operator`` ("", "==", ">=", ...) and ``version`` say which versions do.

    ``bioconductor``: it is Bioconductor's, not CRAN's.
    """

    name: str
    operator: str = ""
    version: str = ""
    bioconductor: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.version}".strip()

    @property
    def debian(self) -> str:
        """The name of the distribution's package, whether there is one or not (Debian's R policy)."""
        return f"r-{'bioc' if self.bioconductor else 'cran'}-{self.name.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RWants:
    """R packages that a folder asks for, sorted by name.

    ``file`` says so, ``source`` is what people call that, ``version`` what it asks of R itself ("": nothing; "4.2.1": that one).
    """

    packages: tuple[RPackage, ...]
    file: str
    source: str
    version: str = ""

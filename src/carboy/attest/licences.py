"""What packages say of their licences, as text to values. Pure: nothing is guessed, and what is not known is said to be unknown.

Sources: SPDX 2.3, annex D; Python's "Core metadata specifications" (License-Expression, License, Classifier) and the list of
trove classifiers; Debian's "Machine-readable debian/copyright file" (DEP-5); "Writing R Extensions", 1.1.2 (Licensing).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.attest.licence_list import EXCEPTIONS, LICENCES

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SAID = 100
"""A longer text in Python's field ``License`` is a licence itself, not its name."""
_MAX_LICENCES = 40
# An SPDX licence expression of simple parts; what people write otherwise is no licence for a machine.
_EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+\)?(?: (?:AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")
_TROVE = "License :: "
# Only those that name one licence: "BSD License" may be any of four.
_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
}
_KNOWN = {
    name.lower(): name
    for name in (
        "MIT", "MIT-0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "ISC", "PSF-2.0", "BSL-1.0", "Unlicense", "Zlib",
        "0BSD", "HPND", "CC0-1.0", "MIT-CMU", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later",
        "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later",
    )
}  # fmt: skip
_KNOWN |= {
    "mit license": "MIT", "the mit license": "MIT", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "apache-2": "Apache-2.0", "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause", "mpl 2.0": "MPL-2.0", "psf": "PSF-2.0", "isc license": "ISC",
}  # fmt: skip
_OPERATORS = frozenset({"AND", "OR", "WITH"})
# R's names, without what says where a package's own words are (" + file LICENSE").
_R_NAMES = {
    "MIT": "MIT", "BSD_2_clause": "BSD-2-Clause", "BSD_3_clause": "BSD-3-Clause", "MPL-2.0": "MPL-2.0", "CC0": "CC0-1.0",
    "Apache License 2.0": "Apache-2.0", "Apache License (== 2.0)": "Apache-2.0", "Artistic-2.0": "Artistic-2.0",
    "AGPL-3": "AGPL-3.0-only", "AGPL (>= 3)": "AGPL-3.0-or-later",
    "GPL-2": "GPL-2.0-only", "GPL-3": "GPL-3.0-only", "GPL (>= 2)": "GPL-2.0-or-later", "GPL (>= 3)": "GPL-3.0-or-later",
    "GPL (>= 2.0)": "GPL-2.0-or-later", "GPL (>= 3.0)": "GPL-3.0-or-later",
    "LGPL-2": "LGPL-2.0-only", "LGPL-2.1": "LGPL-2.1-only", "LGPL-3": "LGPL-3.0-only",
    "LGPL (>= 2)": "LGPL-2.0-or-later", "LGPL (>= 2.0)": "LGPL-2.0-or-later", "LGPL (>= 2.1)": "LGPL-2.1-or-later",
    "LGPL (>= 3)": "LGPL-3.0-or-later", "CC BY 4.0": "CC-BY-4.0", "CC BY-SA 4.0": "CC-BY-SA-4.0", "BSL-1.0": "BSL-1.0",
}  # fmt: skip
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.+-]*)")


def find_expression(text: str) -> str:
    """Return ``text`` where it is an SPDX expression of names that SPDX knows, "" where it is not."""
    if not _EXPRESSION.fullmatch(text) or not _is_balanced(text):
        return ""
    before = ""
    for word in re.findall(r"[^() ]+", text):
        if word not in _OPERATORS:
            known = EXCEPTIONS if before == "WITH" else LICENCES
            if word not in known and word.removesuffix("+") not in known:
                return ""
        before = word
    return text


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def read_python_licence(expression: str, field: str, classifiers: Sequence[str]) -> tuple[str, str]:
    """Return the SPDX expression and the words of a package of Python's, "" for what it does not say.

    The newer field counts before the older ones; a name that may mean several licences is left in words.
    """
    if find_expression(expression):
        return expression, ""
    if known := _KNOWN.get(field.lower()):
        return known, ""
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith(_TROVE)]
    ids = [_CLASSIFIERS.get(name, "") for name in named]
    if len(named) == 1 and ids[0]:  # of several nobody says whether all hold, or one of them
        return ids[0], ""
    # A licence's first line, and what old tools wrote for nothing, are no names.
    is_name = 0 < len(field) <= MAX_SAID and field.upper() != "UNKNOWN" and not field.lower().startswith("copyright")
    return "", field if is_name else ", ".join(named)


def read_r_licence(text: str) -> tuple[str, str]:
    """Return the SPDX expression of R's field ``License``, and its words where it is none ("GPL" alone is any version of it)."""
    parts = [re.sub(r"\s*\+\s*file\s+LICEN[CS]E$", "", part.strip()) for part in text.split("|")]
    names = [_R_NAMES.get(part, find_expression(part) if " " not in part else "") for part in parts]
    return (" OR ".join(dict.fromkeys(names)), "") if all(names) else ("", text)


def parse_copyright(text: str) -> tuple[str, ...]:
    """Return the licences of a Debian copyright file, by the short names that it has, each once, in its order.

    In a file of the older, free form those are named that it points to below /usr/share/common-licenses.
    """
    found: dict[str, None] = {}
    if re.match(r"\s*Format(-Specification)?:", text):
        for line in text.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.lower() == "license" and value.strip():
                found[value.strip()[:MAX_SAID]] = None
    else:
        found = dict.fromkeys(name.rstrip(".") for name in _COMMON.findall(text))
    return tuple(found)[:_MAX_LICENCES]

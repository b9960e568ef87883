"""What uv's last lines mean to the person who reads them: a brief sentence and an action. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from carboy.errors import FREE_SPACE, CarboyError

# What the lines have, what that means, and what to do about it; the first that fits counts.
_REASONS = (
    (
        r"No space left on device|os error 28\b|Disk quota exceeded",
        "the disk is full",
        FREE_SPACE,
    ),
    (
        r"[Hh]ash mismatch",
        "a package is not the file that its hash names",
        "lock the requirements anew, if the index is right; else find out who changed the file",
    ),
    (
        r"401 Unauthorized|403 Forbidden|authentication credentials",
        "the index of packages wants a login, or does not let this one in",
        "put user and password into PIP_INDEX_URL or UV_INDEX (https://USER:PASSWORD@...), which no image keeps",
    ),
    (
        r"dns error|onnection refused|tcp connect error|Network is unreachable|error sending request|operation timed out"
        r"|name resolution|network connectivity is disabled",
        "the index of packages cannot be reached",
        "check the network, HTTPS_PROXY for a proxy, and PIP_INDEX_URL or UV_INDEX for the index; without a network, "
        "`carboy build --offline --bundle` takes a bundle of `carboy fetch`",
    ),
    (
        r"not compatible with the target Python|with a matching platform tag",
        "a package has no wheel for the platform that the image is for",
        "name a version that has one, or build on a machine of that kind, where it is built from its source",
    ),
    (
        r"Failed to build|build backend returned an error|Build failures usually indicate",
        "a package cannot be built from its source",
        "see its last lines: name a version that has a wheel, or what it is built with in apt.txt (a compiler is "
        "build-essential)",
    ),
    (
        r"the current Python version|requires Python|matching Python (?:version|ABI)",
        "the requirements are for another Python than the base has",
        'say which one in carboy.toml: [python] version = "3.13"; or change the requirements',
    ),
    (
        r"Couldn't parse requirement|Expected `--hash`, found",
        "a requirement is not written as pip reads it",
        "write it as NAME[EXTRA]>=1.0 ; MARKER, each in a line of its own; options of a single package are not read",
    ),
    (
        r"was not found in the package registry|was not found in the provided package locations",
        "no index has a package that is required",
        "correct its name; or name its index, with the login that it wants: "
        "PIP_EXTRA_INDEX_URL or UV_INDEX (https://USER:PASSWORD@...), which no image keeps",
    ),
    (
        "",
        "the requirements cannot be installed",
        "change the requirements, or the index that PIP_INDEX_URL or UV_INDEX names",
    ),
)


_VERSION_OF_REPOSITORY = re.compile(
    r"setuptools.scm was unable to detect version|Versioning for this project requires either an sdist tarball"
    r"|This does not appear to be a Git project|versioningit.*could not|Error getting the version from source `vcs`"
)


def explain_build(lines: Sequence[str], status: int) -> CarboyError:
    """Return the error of a step that built a wheel without a network; ``lines`` are the last that it printed."""
    text = "\n".join(lines).strip()
    if _VERSION_OF_REPOSITORY.search(text):
        return CarboyError(
            "a package reads its version from its repository's history, which it was not given",
            details=text,
            hint="put git into apt.txt: a build has the repository's history where the image has git",
        )
    return CarboyError(
        "a package cannot be built from its source",
        details=text or f"the build ended with status {status}",
        hint="see its last lines: it has no network, and what it is built with has to be named in its pyproject.toml or in "
        "apt.txt (a compiler is build-essential)",
    )


def explain_failure(lines: Sequence[str], status: int) -> CarboyError:
    """Return the error of an installing step that printed ``lines`` at its end, and ended with ``status``."""
    text = "\n".join(lines).strip()
    brief, hint = next((brief, hint) for pattern, brief, hint in _REASONS if re.search(pattern, text))
    return CarboyError(brief, details=text or f"uv ended with status {status}", hint=hint)

"""Whether a marker of a requirement (PEP 508) lets it count for a Python of the image.

uv reads all other markers; these stand at packages that are fetched and built before uv is asked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Collection

_VERSION = re.compile(r"(?<![0-9.])3\.[0-9]+\.[0-9]+")


def fits(marker: str, *, interpreter: str, machine: str, extras: Collection[str] = ()) -> bool:
    """Return whether ``marker`` ("" or ``; ...``) holds.

    ``interpreter`` is a text with the version of a CPython for Linux, ``machine`` is as ``uname -m`` says,
    ``extras`` are those that are asked for. Raises ``CarboyError`` for what is no marker.
    """
    text = marker.strip().removeprefix(";").strip()
    if not text:
        return True
    from packaging.markers import InvalidMarker, Marker

    try:
        read = Marker(text)
    except InvalidMarker as error:
        raise CarboyError(
            f"what is behind the ; of a requirement is no marker: {text}",
            details=str(error),
            hint="write it as in ; python_version >= '3.11' and sys_platform == 'linux'",
        ) from error
    environment = _describe(interpreter, machine)
    return any(read.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def _describe(interpreter: str, machine: str) -> dict[str, str]:
    found = _VERSION.search(interpreter)
    version = {}
    if found is not None:
        version = {
            "python_full_version": found[0],
            "python_version": found[0].rpartition(".")[0],
            "implementation_version": found[0],
        }
    return {
        **version,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "platform_machine": machine,
        "platform_release": "",
        "platform_version": "",
    }

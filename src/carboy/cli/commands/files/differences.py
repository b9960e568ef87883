"""Differences between images as text and as JSON, for ``verify`` and ``diff``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from carboy.cli.render import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.comparison.documents import Setting
    from carboy.comparison.files import FileDifference
    from carboy.comparison.images import ImageComparison

MAX_SHOWN = 20
"""How many files of a layer are shown to people; JSON has all."""
_MAX_VALUE = 120
_SIDES = ("on the left", "on the right")


def list_differences(comparison: ImageComparison) -> dict[str, Any]:
    """Return what differs as JSON values."""
    return {
        "settings": list_settings(comparison.settings),
        "layers": [
            {
                "number": layer.number,
                "title": layer.title,
                "left": layer.left,
                "right": layer.right,
                "note": layer.note,
                "files": list_files(layer.files),
            }
            for layer in comparison.layers
        ],
    }


def list_settings(settings: Sequence[Setting]) -> list[dict[str, str]]:
    """Return settings as JSON values."""
    return [asdict(one) for one in settings]


def list_files(files: Sequence[FileDifference]) -> list[dict[str, Any]]:
    """Return files as JSON values; a name that is no UTF-8 is given as Python does for files."""
    return [
        {
            "path": _show(one.path),
            "differs": [{"what": aspect.name, "left": aspect.left, "right": aspect.right} for aspect in one.aspects],
            **({"reason": one.reason} if one.reason else {}),
        }
        for one in files
    ]


def render_differences(comparison: ImageComparison) -> Iterator[str]:
    """Yield the lines that say what differs, by level."""
    yield from render_settings(comparison.settings)
    for layer in comparison.layers:
        yield printable(f"layer {layer.number} of {comparison.layer_count} ({_shorten(layer.title)}):")
        if layer.note:
            yield f"  {layer.note}"
        yield from render_files(layer.files, sides=("in the image", "in the rebuild"))


def render_settings(settings: Sequence[Setting]) -> Iterator[str]:
    """Yield a line for each setting."""
    for one in settings:
        yield printable(f"  {one.name}: {_shorten(one.left) or '(none)'} -> {_shorten(one.right) or '(none)'}")


def render_files(files: Sequence[FileDifference], *, sides: tuple[str, str] = _SIDES) -> Iterator[str]:
    """Yield a line for each file, and what differs in it; ``sides`` is what people call the two."""
    for one in files[:MAX_SHOWN]:
        said = ", ".join(_render_aspect(a.name, a.left, a.right, sides) for a in one.aspects)
        yield printable(f"  {_show(one.path)}: {said}").replace("\n", "\\n")
        if one.reason:
            yield printable(f"      {one.reason}").replace("\n", "\\n")
    if len(files) > MAX_SHOWN:
        yield f"  and {len(files) - MAX_SHOWN} files more (--json has all)"


def _show(path: bytes) -> str:
    return f"/{os.fsdecode(path)}".encode("utf-8", "backslashreplace").decode()


def _render_aspect(name: str, left: str, right: str, sides: tuple[str, str]) -> str:
    if name == "presence":
        return f"only {sides[0] if left else sides[1]} ({left or right})"
    if name in {"content", "xattrs"}:
        return name
    return f"{name} {left} -> {right}"


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."

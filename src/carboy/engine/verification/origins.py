"""Where an image was built from, noted in this home beside it: what an image says of itself never names a path of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.engine.context import Engine
    from carboy.oci.digest import Digest

KIND = "build"  # one more thing that is remembered of builds, and goes with the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The folder (absolute) of a build and, of one with a Dockerfile, that file's path and the options that shape the image.

    ``cwd`` is where paths in the options begin. ``unsaid`` are options whose values were not kept, as they hold passwords.
    """

    folder: str
    file: str = ""
    words: tuple[str, ...] = ()
    cwd: str = "/"
    unsaid: tuple[str, ...] = ()


def note_origin(engine: Engine, image: Digest, origin: Origin) -> None:
    """Keep the origin of an image, by the digest that its name has."""
    key, value = _key(image), _encode(origin)
    found = engine.store.cache.get(key)
    if found is None or found.value != value:
        engine.store.cache.put(key, KIND, value, [])


def find_origin(engine: Engine, image: Digest) -> Origin | None:
    """Return the origin of an image, None when nothing is known of it."""
    found = engine.store.cache.get(_key(image))
    if found is None:
        return None
    value = found.value
    return Origin(
        folder=value["folder"],
        file=value["file"],
        words=tuple(value["words"]),
        cwd=value["cwd"],
        unsaid=tuple(value["unsaid"]),
    )


def _key(image: Digest) -> str:
    return f"origin:{image}"


def _encode(origin: Origin) -> dict[str, Any]:
    texts: dict[str, Sequence[str]] = {"words": list(origin.words), "unsaid": list(origin.unsaid)}
    return {"folder": origin.folder, "file": origin.file, "cwd": origin.cwd, **texts}

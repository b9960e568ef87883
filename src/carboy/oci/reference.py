"""Names of images, with Docker's short forms. Source: the distribution project's reference grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidReferenceError

DEFAULT_REGISTRY = "docker.io"
OFFICIAL = "library"
DEFAULT_TAG = "latest"
MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A full name: ``registry`` "docker.io", ``repository`` "library/iris", and a ``tag``, a ``digest`` or both."""

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that ``text`` writes, completed as Docker does. Raises ``InvalidReferenceError``."""
        rest, has_digest, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if has_digest else None
        head, slash, last = rest.rpartition("/")
        last, has_tag, tag_text = last.partition(":")
        tag: str | None = tag_text if has_tag else None
        name = f"{head}{slash}{last}"
        first, has_path, path = name.partition("/")
        if has_path and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            registry = "docker.io" if first == "index.docker.io" else first
        else:
            registry, path = DEFAULT_REGISTRY, name
        if registry == DEFAULT_REGISTRY and "/" not in path:
            path = f"{OFFICIAL}/{path}"
        if not _HOST.fullmatch(registry) or not _PATH.fullmatch(path):
            hint = "use lower-case letters, digits and . _ - between them, as in team/iris:1"
            raise InvalidReferenceError(f"{text[:300]!r} is not the name of an image", hint=hint)
        if tag is not None and not _TAG.fullmatch(tag):
            raise InvalidReferenceError(
                f"{tag[:150]!r} is not a tag", hint="a tag is 1 to 128 letters, digits and . _ -"
            )
        if len(registry) + 1 + len(path) > MAX_NAME:
            raise InvalidReferenceError(f"the name has more than {MAX_NAME} characters", hint="choose a shorter one")
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        return cls(registry=registry, repository=path, tag=tag, digest=digest)

    @property
    def familiar(self) -> str:
        """The short form that people write: the default registry and ``library/`` left out."""
        return self.familiar_name + self._suffix()

    @property
    def familiar_name(self) -> str:
        """The short form of the repository, without tag and digest."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        path = self.repository.removeprefix(f"{OFFICIAL}/")
        # Only one part may lose "library/": "docker.io/library/a/b" is another repository than "a/b".
        return path if "/" not in path else self.repository

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._suffix()}"

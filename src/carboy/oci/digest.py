"""Digests: ``sha256:`` and 64 hexadecimal digits. Source: OCI image-spec, descriptor.md, "Digests"."""

from __future__ import annotations

import hashlib

from carboy.oci.errors import InvalidDigestError

_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


class Digest:
    """A checked digest; equal, hashable and ordered by its text. Make one with ``parse``, ``of`` or ``from_hex``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        algorithm, _, encoded = text.partition(":")
        if len(encoded) != _LENGTHS.get(algorithm, -1) or not _HEX.issuperset(encoded):
            raise InvalidDigestError(
                f"{text[:80]!r} is not a digest", hint="a digest is sha256: and 64 digits of 0-9 and a-f"
            )
        self._text = text

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that ``text`` writes. Raises ``InvalidDigestError``."""
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the sha256 digest of ``data``."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @classmethod
    def from_hex(cls, text: str) -> Digest:
        """Return the sha256 digest with these 64 digits."""
        return cls(f"sha256:{text}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self._text.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits; safe as a file name."""
        return self._text.partition(":")[2]

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Digest({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self._text == other._text

    def __lt__(self, other: Digest) -> bool:
        return self._text < other._text

    def __hash__(self) -> int:
        return hash(self._text)

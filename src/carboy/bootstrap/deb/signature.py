"""Archive signatures: what a trusted key has signed, and nothing else, is let through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import BootstrapError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pysequoia import Cert

KEYS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "keys")
_KEYRING_LIMIT = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedText:
    """The content that was signed, and the fingerprints of the trusted certificates that signed it."""

    text: str
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The certificates that are trusted for one archive."""

    certificates: tuple[Cert, ...]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The certificates' fingerprints, sorted."""
        return tuple(sorted(certificate.fingerprint for certificate in self.certificates))


def read_keyring(paths: Sequence[str] = ()) -> Keyring:
    """Return the certificates in the files ``paths`` (binary or armoured), or Debian's own when there are none."""
    from pysequoia import Cert

    chosen = paths or [os.path.join(KEYS, name) for name in sorted(os.listdir(KEYS)) if name.endswith(".gpg")]
    found: dict[str, Cert] = {}
    for path in chosen:
        try:
            with open(path, "rb") as file:
                certificates = Cert.split_bytes(file.read(_KEYRING_LIMIT))
        except OSError as error:
            raise BootstrapError(f"the keyring {path} cannot be read", details=str(error)) from error
        except Exception as error:
            raise BootstrapError(f"{path} is not an OpenPGP keyring", details=_first_lines(error)) from error
        for certificate in certificates:
            found.setdefault(certificate.fingerprint, certificate)
    if not found:
        raise BootstrapError("the keyring holds no key", details=", ".join(chosen))
    return Keyring(tuple(found.values()))


def verify_inrelease(data: bytes, keyring: Keyring, *, url: str) -> SignedText:
    """Return what is signed inside the clear-signed ``data``; raise ``SignatureError`` when no trusted key signed it.

    An archive signs with several keys, of which a reader may know only some: one valid signature is enough. Expired
    keys, and signatures over SHA-1, do not count (Sequoia's standard policy). Text around the signed part is dropped.
    """
    from pysequoia import verify

    if not data.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        raise SignatureError(url, "it is not a clear-signed file")
    try:
        result = verify(bytes=data, store=lambda _ids: list(keyring.certificates))
    except Exception as error:
        raise SignatureError(url, _first_lines(error)) from error
    signers = tuple(sorted({signature.certificate for signature in result.valid_sigs}))
    content = result.bytes
    if not signers or content is None:
        raise SignatureError(url, "no trusted key has signed it")
    try:
        return SignedText(text=content.decode(), signers=signers)
    except UnicodeDecodeError as error:
        raise SignatureError(url, "what is signed is not text") from error


def _first_lines(error: Exception) -> str:
    """Return the message without the library's stack trace."""
    return str(error).partition("\n\nStack backtrace:")[0].strip()

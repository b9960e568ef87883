"""RSA signatures of Alpine's indexes: PKCS #1 v1.5 over SHA-1, SHA-256 or SHA-512, against public keys in a folder.

Verification needs public values alone, so nothing here has to take the same time for all inputs. What is signed is compared
with the one encoding that there is (RFC 8017, 8.2.2): the signature's own encoding is never parsed, which is where
implementations were forged (CVE-2006-4339). Alpine signs by SHA-1 (".SIGN.RSA."): to serve another index under such a signature
takes a second preimage, which nobody has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import BootstrapError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_BITS, MAX_BITS = 2048, 16_384
_KEY_LIMIT = 64 * 1024
_MAX_KEYS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]*\.rsa\.pub\Z")
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*\Z")
# AlgorithmIdentifier of rsaEncryption with its NULL (RFC 8017, A.1).
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
# By the name of a signature's file: the hash, and the DigestInfo before it (RFC 8017, 9.2, note 1).
_KINDS = {
    "RSA": ("sha1", bytes.fromhex("3021300906052b0e03021a05000414")),
    "RSA256": ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
    "RSA512": ("sha512", bytes.fromhex("3051300d060960864801650304020305000440")),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An RSA key: ``modulus`` and ``exponent``."""

    modulus: int
    exponent: int

    @property
    def size_bytes(self) -> int:
        """The length of its signatures."""
        return (self.modulus.bit_length() + 7) // 8


def read_keys(folders: Sequence[str]) -> dict[str, PublicKey]:
    """Return the keys in the folders by their file's name, as signatures name them. Raises ``BootstrapError``.

    What is no key file is left out; a key file that is wrong is not.
    """
    keys: dict[str, PublicKey] = {}
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if _NAME.match(name))[:_MAX_KEYS]
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    keys.setdefault(name, parse_key(file.read(_KEY_LIMIT), name=os.path.join(folder, name)))
        except OSError as error:
            raise BootstrapError(f"the folder of keys {folder} cannot be read", details=str(error)) from error
    if not keys:
        raise BootstrapError(
            "there is no key in the folder of keys",
            details=", ".join(folders),
            hint="its files are named as Alpine's: NAME.rsa.pub",
        )
    return keys


def parse_key(data: bytes, *, name: str) -> PublicKey:
    """Return the key of a PEM file ("BEGIN PUBLIC KEY"). Pure. Raises ``BootstrapError``, for short keys as well."""
    found = _PEM.match(data.strip())
    try:
        if found is None:
            raise ValueError("it is no PEM file of one public key")
        der = base64.b64decode(b"".join(found[1].split()), validate=True)
        key = _parse_der(der)
    except (ValueError, binascii.Error) as error:
        raise BootstrapError(f"{name} is not an RSA public key", details=str(error)) from error
    bits = key.modulus.bit_length()
    if not MIN_BITS <= bits <= MAX_BITS:
        raise BootstrapError(f"the key {name} has {bits} bits", details=f"at least {MIN_BITS} are asked for")
    if key.exponent < 3 or key.exponent % 2 == 0 or key.exponent.bit_length() > 64 or key.modulus % 2 == 0:
        raise BootstrapError(f"{name} is not an RSA public key", details="its numbers cannot be a key's")
    return key


def _parse_der(der: bytes) -> PublicKey:
    """Return the key of a SubjectPublicKeyInfo, in the one form that DER has for it."""
    body = _take(der, 0x30)[0]
    if not body.startswith(_RSA):
        raise ValueError("it is a key of another kind")
    bits, rest = _take(body[len(_RSA) :], 0x03)
    if rest or bits[:1] != b"\0" or _take(der, 0x30)[1]:
        raise ValueError("something stands behind the key")
    numbers, rest = _take(bits[1:], 0x30)
    modulus, tail = _take(numbers, 0x02)
    exponent, end = _take(tail, 0x02)
    if rest or end:
        raise ValueError("something stands behind the key's numbers")
    return PublicKey(_integer(modulus), _integer(exponent))


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the content of one element and what follows it. Raises ``ValueError`` for what is not DER."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("it is not DER, or another structure")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        start += count
        length = int.from_bytes(data[2:start], "big")
        if not 1 <= count <= 3 or len(data) < start or data[2] == 0 or length < 0x80:
            raise ValueError("a length is not written as DER wants it")
    if len(data) < start + length:
        raise ValueError("it is cut off")
    return data[start : start + length], data[start + length :]


def _integer(data: bytes) -> int:
    if not data or data[0] & 0x80 or (len(data) > 1 and data[0] == 0 and not data[1] & 0x80):
        raise ValueError("a number is negative, or not written as DER wants it")
    return int.from_bytes(data, "big")


def is_signed(key: PublicKey, signature: bytes, digest: bytes, *, prefix: bytes) -> bool:
    """Return whether ``signature`` is that of ``digest`` by ``key``; ``prefix`` is the digest's DigestInfo. Pure."""
    size_bytes = key.size_bytes
    value = int.from_bytes(signature, "big")
    info = prefix + digest
    if len(signature) != size_bytes or value >= key.modulus or len(info) + 11 > size_bytes:
        return False
    wanted = b"\0\1" + b"\xff" * (size_bytes - len(info) - 3) + b"\0" + info
    return pow(value, key.exponent, key.modulus).to_bytes(size_bytes, "big") == wanted


def find_signer(
    signatures: Mapping[str, bytes], signed: bytes | memoryview, keys: Mapping[str, PublicKey], *, url: str
) -> str:
    """Return the name of the key that has signed ``signed``; raise ``SignatureError`` unless one of ``keys`` has. Pure.

    ``signatures`` maps the names of signature files (".SIGN.RSA.NAME.rsa.pub") to their content.
    """
    named = []
    for file, signature in signatures.items():
        kind, _, name = file.removeprefix(".SIGN.").partition(".")
        if not file.startswith(".SIGN.") or kind not in _KINDS:
            continue
        named.append(name)
        if name not in keys:
            continue
        algorithm, prefix = _KINDS[kind]
        if is_signed(keys[name], signature, hashlib.new(algorithm, signed).digest(), prefix=prefix):
            return name
        raise SignatureError(url, f"the signature by {name} is wrong")
    if not named:
        raise SignatureError(url, "it is not signed")
    raise SignatureError(url, f"it is signed by {', '.join(named)[:300]}, which is not among the keys that are trusted")

"""Values as JSON in one form, so that equal ones are equal bytes: for keys of caches, and for documents. Pure."""

from __future__ import annotations

import hashlib
import json


def encode_json(value: object) -> bytes:
    """Return a value as compact JSON, its keys sorted, in UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_json(value: object) -> str:
    """Return the SHA-256 of a value, in hexadecimal digits: of compact JSON in ASCII, its keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

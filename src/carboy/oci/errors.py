"""What can be wrong with a name or a document."""

from __future__ import annotations

from carboy.errors import CarboyError


class InvalidDigestError(CarboyError, ValueError):
    """A text that is not a digest."""


class InvalidReferenceError(CarboyError, ValueError):
    """A text that is not the name of an image."""


class InvalidDocumentError(CarboyError, ValueError):
    """A manifest, index or configuration that breaks its specification."""

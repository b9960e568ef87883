"""``--sbom``, ``--provenance`` and ``--attest`` as text to values. Pure. Source: docker/buildx, util/buildflags/attests.go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterable

_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestRequest:
    """What is to be said of an image: ``provenance`` is "", "min" or "max". Nothing unless it is asked for."""

    sbom: bool = False
    provenance: str = ""

    def __bool__(self) -> bool:
        return self.sbom or bool(self.provenance)


def parse_attests(items: Iterable[str], *, sbom: str = "", provenance: str = "") -> AttestRequest:
    """Return what the three options ask for; ``--sbom`` and ``--provenance`` are short for ``--attest``.

    Raises ``CarboyError`` (2).
    """
    texts = [("--attest", item) for item in items]
    texts += [(f"--{kind}", f"type={kind},{_expand(kind, value)}") for kind, value in _given(sbom, provenance)]
    wants_sbom, mode = False, ""
    for option, text in texts:
        found = _parse(option, text)
        kind = found.pop("type", "")
        if kind not in {"sbom", "provenance"}:
            raise _wrong(option, text, f"there is no attestation {kind!r}")
        disabled = found.pop("disabled", "false").lower()
        if disabled not in _TRUE | _FALSE:
            raise _wrong(option, text, f"disabled={disabled} is neither true nor false")
        off = disabled in _TRUE
        if kind == "sbom":
            if "generator" in found:
                raise _wrong(option, text, "carboy reads an image's packages itself, and runs no generator")
            wants_sbom = not off
        else:
            wanted = found.pop("mode", "min")
            if wanted not in {"min", "max"}:
                raise _wrong(option, text, f"mode={wanted} is neither min nor max")
            if found.pop("version", "v1") != "v1":
                raise _wrong(option, text, "SLSA provenance is written in version v1")
            mode = "" if off else wanted
        if found:
            raise _wrong(option, text, f"it knows no {next(iter(found))!r}")
    return AttestRequest(sbom=wants_sbom, provenance=mode)


def _given(sbom: str, provenance: str) -> list[tuple[str, str]]:
    return [(kind, value) for kind, value in (("sbom", sbom), ("provenance", provenance)) if value]


def _expand(kind: str, value: str) -> str:
    """Return the fields that a short form stands for: true, false, or (of a provenance) its mode."""
    if value.lower() in _TRUE:
        return "disabled=false"
    if value.lower() in _FALSE:
        return "disabled=true"
    return f"mode={value}" if kind == "provenance" and value in {"min", "max"} else value


def _parse(option: str, text: str) -> dict[str, str]:
    found = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            raise _wrong(option, text, f"{item!r} is not KEY=VALUE")
        found[key.strip().lower()] = value
    return found


def _wrong(option: str, text: str, details: str) -> CarboyError:
    hint = "write --sbom=true, --provenance=mode=max, or --attest type=provenance,mode=min"
    return CarboyError(f"{option} {text[:200]!r} cannot be read", details=details, hint=hint, code=2)

"""The provenance: how an image came to be, as SLSA provenance 1. Pure. Source: slsa.dev, provenance/v1; BuildKit's definitions.

Nothing of the machine is in it: no path, no name of a host or a user, no proxy, and of secrets their ids alone. Users and
passwords in addresses are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carboy.attest.packages import quote
from carboy.base.credentials import redact
from carboy.oci.reference import Reference

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:carboy:build:v1"
BUILDER = "urn:carboy:builder"  # whoever ran carboy: nothing of the machine is said
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What a build was told, and what it did. Times are RFC 3339.

    ``frontend`` is "dockerfile" or "python", ``platform`` the machine's; ``source`` the address of a context that is elsewhere
    ("" for a folder of the machine, which is not named), ``file`` the Dockerfile's name, ``text`` its bytes. ``bases`` are the
    digests of images by full name, None for one that was made here. ``materials`` are what else it was made of: addresses, by
    which nobody need find it, with their SHA-256 ("" where there are several). ``steps`` are their titles. Times may be "".
    """

    frontend: str
    platform: str
    started: str = ""
    finished: str = ""
    source: str = ""
    file: str = ""
    text: bytes = b""
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    entitlements: tuple[str, ...] = ()
    bases: Mapping[str, str | None] = field(default_factory=dict)
    materials: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()


def make_provenance(facts: BuildFacts, *, mode: str, platform: str, version: str) -> dict[str, Any]:
    """Return the predicate for an image of ``platform``.

    ``mode`` "min" leaves out what people gave as values, the Dockerfile and the steps; "max" has all.
    """
    is_full = mode == "max"
    request: dict[str, Any] = {"frontend": facts.frontend, "locals": [{"name": "context"}, {"name": "dockerfile"}]}
    if facts.frontend != "dockerfile" or facts.source:
        request["locals"] = [] if facts.source else [{"name": "context"}]
    if is_full:
        request |= _list_arguments(facts)
    parameters: dict[str, Any] = {"request": request}
    source: dict[str, Any] = {}
    if facts.source:
        source["uri"] = redact(facts.source)
    if facts.file:
        source["path"] = facts.file
    if source:
        parameters["configSource"] = source
    internal: dict[str, Any] = {"builderPlatform": facts.platform}
    times = {"startedOn": facts.started, "finishedOn": facts.finished}
    metadata: dict[str, Any] = {
        **{name: text for name, text in times.items() if text},
        "buildkit_completeness": {"request": is_full, "resolvedDependencies": False},
    }
    if is_full:
        internal["steps"] = [redact(title) for title in facts.steps]
        if facts.text:
            text = redact(facts.text.decode("utf-8", "replace")).encode()
            infos = [{"filename": facts.file or "Dockerfile", "data": base64.b64encode(text).decode()}]
            metadata["buildkit_metadata"] = {"source": {"infos": infos}}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": parameters,
            "internalParameters": internal,
            "resolvedDependencies": [
                *(_describe_base(*item, platform) for item in sorted(facts.bases.items())),
                *({"uri": uri, **({"digest": {"sha256": hex_}} if hex_ else {})} for uri, hex_ in facts.materials),
            ],
        },
        "runDetails": {"builder": {"id": BUILDER, "version": {"carboy": version}}, "metadata": metadata},
    }


def _list_arguments(facts: BuildFacts) -> dict[str, Any]:
    args = {"target": facts.target} if facts.target else {}
    args |= {f"build-arg:{k}": redact(v) for k, v in facts.build_args.items() if k.lower() not in _PROXIES}
    args |= {f"label:{k}": redact(v) for k, v in facts.labels.items()}
    args |= {f"context:{name}": "" for name in facts.contexts}
    found: dict[str, Any] = {"args": args}
    for key, ids in (("secrets", facts.secrets), ("ssh", facts.ssh)):
        if ids:
            found[key] = [{"id": one} for one in ids]
    if facts.entitlements:
        found["entitlements"] = list(facts.entitlements)
    return found


def _describe_base(name: str, digest: str | None, platform: str) -> dict[str, Any]:
    found: dict[str, Any] = {"uri": image_purl(Reference.parse(name), platform)}
    if digest is not None and digest.startswith("sha256:"):
        found["digest"] = {"sha256": digest.removeprefix("sha256:")}
    return found


def image_purl(name: Reference, platform: str) -> str:
    """Return the package URL of an image, as BuildKit writes it."""
    path, _, _ = name.familiar.partition("@")
    if name.tag is not None:
        path = path.removesuffix(f":{name.tag}")
    path = "/".join(quote(part) for part in path.split("/"))
    return f"pkg:docker/{path}" + (f"@{quote(name.tag)}" if name.tag else "") + f"?platform={quote(platform)}"

"""Says of a build's image what was asked for: what is in it, and how it came to be; kept in the store beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import carboy
from carboy.attest import slsa, spdx
from carboy.attest.kept import keep_statements
from carboy.attest.scan import scan
from carboy.attest.slsa import BuildFacts
from carboy.attest.statement import make_statement
from carboy.base.fs import translate_os_errors
from carboy.engine.documents.making import inner_name, is_elsewhere
from carboy.images.output.files import list_trees
from carboy.images.platforms import list_manifests
from carboy.images.times import format_time
from carboy.oci.config import parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.manifest import parse_manifest
from carboy.oci.platform import Platform
from carboy.store.attestations import Attestation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carboy.attest.packages import Package, System
    from carboy.attest.request import AttestRequest
    from carboy.engine.builds.recorder import FinishedBuild
    from carboy.engine.context import Engine
    from carboy.oci.digest import Digest
    from carboy.oci.reference import Reference


class FactsRecorder:
    """Takes note of a build, of each of its platforms: :attr:`facts` is what is known by then."""

    def __init__(self) -> None:
        self._started = format_time(time.time())
        self.facts = BuildFacts(
            frontend="python", platform=str(Platform.current()), started=self._started, finished=self._started
        )

    def note(self, engine: Engine, build: FinishedBuild) -> bool:
        """Keep the facts of a build with a Dockerfile that went well."""
        del engine
        request = build.request
        self.facts = BuildFacts(
            frontend="dockerfile",
            platform=self.facts.platform,
            started=self._started,
            finished=format_time(time.time()),
            source=request.context if is_elsewhere(request.context) else "",
            file=inner_name(request),
            text=build.text.data,
            target=request.target,
            build_args=request.build_args,
            labels=request.labels,
            contexts=tuple(request.contexts),
            secrets=tuple(secret.id for secret in request.secrets),
            ssh=tuple(request.ssh),
            entitlements=tuple(sorted(request.allow)),
            bases={**self.facts.bases, **build.bases},
            steps=(*self.facts.steps, *(step.title for step in build.result.steps)),
        )
        return True

    def note_folder(self, steps: Iterable[str]) -> None:
        """Keep the facts of a folder of Python that was built."""
        self.facts = BuildFacts(
            frontend="python",
            platform=self.facts.platform,
            started=self._started,
            finished=format_time(time.time()),
            steps=tuple(steps),
        )


class Attester:
    """Says the same of each form that an image leaves in: its files are read once."""

    def __init__(self, engine: Engine, request: AttestRequest, facts: BuildFacts) -> None:
        self._engine = engine
        self._request = request
        self._facts = facts
        self._scanned: dict[Digest, tuple[System, tuple[Package, ...]]] = {}

    def attest(self, image: Descriptor, names: Sequence[Reference]) -> tuple[Attestation, ...]:
        """Return what is said of an image, of each of its platforms; kept in the store for as long as it.

        Raises ``CarboyError``.
        """
        return tuple(self._attest_one(one, names) for one in list_manifests(self._engine.store, image))

    def _attest_one(self, image: Descriptor, names: Sequence[Reference]) -> Attestation:
        store = self._engine.store
        manifest = parse_manifest(store.blobs.read(image.digest))
        config = parse_config(store.blobs.read(manifest.config.digest))
        platform = str(config.platform)
        predicates = []
        if self._request.sbom:
            system, packages = self._scan(image, manifest.config.digest)
            name = names[0].familiar if names else "image"
            tool = f"carboy-{carboy.__version__}"
            about = spdx.make_sbom(packages, system, image=image.digest, name=name, created=config.created, tool=tool)
            predicates.append((spdx.PREDICATE, about))
        if self._request.provenance:
            mode = self._request.provenance
            how = slsa.make_provenance(self._facts, mode=mode, platform=platform, version=carboy.__version__)
            predicates.append((slsa.PREDICATE, how))
        statements = [
            (kind, make_statement(kind, value, image=image.digest, names=names, platform=platform))
            for kind, value in predicates
        ]
        return keep_statements(store, image.digest, statements)

    def _scan(self, image: Descriptor, config: Digest) -> tuple[System, tuple[Package, ...]]:
        if config not in self._scanned:
            with translate_os_errors("read the image's packages"):
                self._scanned[config] = scan([tree for tree, _ in list_trees(self._engine.store, image)])
        return self._scanned[config]

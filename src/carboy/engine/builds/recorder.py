"""Notes what a build depended on, for ``replay``: only of a build whose result that decides, all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from carboy.base.config import FILE
from carboy.base.credentials import redact
from carboy.base.home import find_home
from carboy.build.front import DOCKERFILES, SETTINGS
from carboy.engine.builds.replay import BuildRecord, digest_bytes, digest_file, digest_variables, make_key
from carboy.oci.manifest import parse_manifest
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from carboy.build.solver.solver import GraphResult
    from carboy.build.sources import DockerfileText
    from carboy.engine.context import Engine
    from carboy.engine.dockerfile_request import DockerfileRequest

MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedBuild:
    """A build with a Dockerfile that went well, of one platform.

    ``text`` is the Dockerfile that was built, ``bases`` the images that were asked for, by full name, with their digests;
    ``warnings`` are what the checks found, for people.
    """

    request: DockerfileRequest
    text: DockerfileText
    bases: Mapping[str, str | None]
    result: GraphResult
    warnings: tuple[str, ...]


class Recorder(Protocol):
    """Takes note of a build with a Dockerfile that went well."""

    def note(self, engine: Engine, build: FinishedBuild) -> bool:
        """Take note, and return whether there was anything to keep; see :meth:`BuildRecorder.note`."""
        ...


class BuildRecorder:
    """Makes the record of one command line's build. Made before anything is read, so that a change meanwhile shows later.

    ``file`` is the Dockerfile that the command line names, "" when the front end is to find one; ``variables`` are those
    that it names without a value, ``mode`` how the
    steps are shown. Raises ``OSError`` when one of the files that it looks at cannot be read.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: str,
        file: str,
        variables: Iterable[str],
        environ: Mapping[str, str],
        mode: str = "auto",
    ) -> None:
        self._key = make_key(arguments)
        self._variables = tuple(variables)
        self._environ = digest_variables(environ, self._variables)
        self._found = {} if file else {name: digest_file(f"{folder}/{name}") for name in (SETTINGS, *DOCKERFILES)}
        # [bases] and [archives]: which names are made here, and of what.
        config = f"{find_home(environ, os.getuid())}/{FILE}"
        self._config = {config: digest_file(config)}
        self._folder = folder
        self._mode = mode

    def note(self, engine: Engine, build: FinishedBuild) -> bool:
        """Keep the record of a build that has its names, and return whether there is one to keep."""
        # Here, for a folder of Python has a recorder before it is known as one.
        from carboy.build.solver.solver import EXPORT
        from carboy.engine.dockerfile_request import EPOCH

        request, result = build.request, build.result
        epoch = request.build_args.get(EPOCH, engine.environ.get(EPOCH, ""))
        if epoch and not (epoch.isascii() and epoch.isdecimal()):
            return False  # the time of a source, which is asked for it
        if not _decides(request, self._folder) or result.observed is None:
            return False
        store = engine.store
        made = self._list_recipes(engine, result)
        if made is None:
            return False
        rows, keys = made
        references = [Reference.parse(name) for name in request.names]
        manifest = parse_manifest(store.blobs.read(result.descriptor.digest))
        blobs = [result.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        record = BuildRecord(
            texts={**keys, **self._list_texts(request, build.text)},
            variables=self._variables,
            environ=self._environ,
            observed=result.observed,
            bases=build.bases,
            names=[str(reference) for reference in references],
            shown=references[0].familiar if references else "",
            blobs=[digest.hex for digest in blobs],
            digest=str(result.descriptor.digest),
            size_bytes=result.size_bytes,
            titles=[*(step.title for step in result.steps), EXPORT],
            warnings=[redact(text) for text in build.warnings],
            tags=request.names,
            mode=self._mode,
            rows=rows,
        )
        data = record.encode()
        if len(data) > MAX_BYTES:
            return False
        if data != store.cache.get_bytes(self._key):
            store.cache.put_bytes(self._key, "build", data)
        return True

    @staticmethod
    def _list_recipes(engine: Engine, result: GraphResult) -> tuple[dict[str, str], dict[str, str | None]] | None:
        """Return digests of the notes of bases that were made here, by key, and of the files of keys that they need.

        None when a base is not noted as it was used.
        """
        from carboy.build.solver.bases import find_base_key, find_base_state

        rows: dict[str, str] = {}
        files: dict[str, str | None] = {}
        for image, chain in result.recipes:
            key, keyrings = find_base_key(image, environ=engine.environ)
            text = engine.store.cache.get_text(key)
            found = find_base_state(image, store=engine.store, environ=engine.environ)
            if text is None or found is None or found.chain != chain:
                return None
            rows[key] = digest_bytes(text.encode())
            try:
                files |= {path: digest_file(path) for path in keyrings}
            except OSError:
                return None  # a folder of keys
        return rows, files

    def _list_texts(self, request: DockerfileRequest, text: DockerfileText) -> dict[str, str | None]:
        """Return the digests of what was read before the build began, by path."""
        texts: dict[str, str | None] = dict(self._config)
        for name, digest in self._found.items():
            texts[f"{self._folder}/{name}"] = digest
            if digest is not None and name != SETTINGS:
                break
        texts[request.file] = digest_bytes(text.data)
        ignore = digest_bytes(text.ignore.encode("utf-8", "surrogateescape")) if text.ignore_name else None
        beside = f"{request.file}.dockerignore"
        if text.ignore_name == os.path.basename(beside):
            texts[beside] = ignore
        else:
            texts |= {beside: None, f"{request.context}/.dockerignore": ignore}
        return texts


def _decides(request: DockerfileRequest, folder: str) -> bool:
    """Return whether a request's own files, bases and variables decide what comes of it: nothing fetched, nothing asked."""
    return (
        request.context == folder
        and os.path.isdir(folder)
        and bool(request.file)
        and request.text is None
        and request.archive is None
        and not request.contexts
        and not request.secrets
        and not request.ssh
        and not request.no_cache
        and not request.no_cache_stages
        and not request.refresh
        and not request.cache_from
        and not request.cache_to
        and not request.is_one_of_several
    )

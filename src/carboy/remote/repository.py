"""Repositories: where an image is read from and written to, through whichever endpoints its registry has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from carboy.base.web import read_web_settings
from carboy.remote.answers import Busy
from carboy.remote.client import RegistryClient
from carboy.remote.errors import RegistryError, RestartError, UnreachableError
from carboy.remote.logins import find_login
from carboy.remote.settings import (
    RegistrySettings,
    plan_endpoint,
    plan_endpoints,
    read_certificates,
    read_registries,
)
from carboy.remote.transport import TRIES, Transport
from carboy.store.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.oci.reference import Reference
    from carboy.remote.client import FetchedManifest
    from carboy.remote.logins import Login
    from carboy.remote.settings import Endpoint
    from carboy.store.blobs import BlobStore, BlobWriter

T = TypeVar("T")
# So much of a blob between two failures, and the tries are counted anew.
_PROGRESS_BYTES = 2**20


class _Part:
    """Bytes of a blob on their way: those before ``at`` have been passed on, ``end`` is behind the last."""

    def __init__(self, start: int, end: int, write: Callable[[bytes], object]) -> None:
        self.at = start
        self.end = end
        self._write = write

    def take(self, data: bytes) -> None:
        """Pass on what came."""
        self._write(data)
        self.at += len(data)


class Repository:
    """A repository at its registry, and at the mirrors of that: reads go to the first that has the thing; for any thread."""

    def __init__(self, name: str, mirrors: Sequence[RegistryClient], own: RegistryClient) -> None:
        self.name = name
        self.registry = own.registry
        self._mirrors = mirrors
        self._own = own
        self._down: set[RegistryClient] = set()

    def fetch_manifest(self, reference: str) -> FetchedManifest:
        """Return the manifest under a tag or digest. Raises ``RegistryError``."""
        return self._ask(lambda client: client.fetch_manifest(self.name, reference))

    def list_tags(self) -> list[str]:
        """Return the tags. Raises ``RegistryError``."""
        return self._own.list_tags(self.name)

    def fetch_referrers(self, digest: Digest) -> bytes | None:
        """Return the index of what refers to a manifest, None where nobody keeps such a list. Raises ``RegistryError``."""
        return self._own.fetch_referrers(self.name, digest)

    def fetch_blob(
        self, blob: Descriptor, blobs: BlobStore, *, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        """Put a blob into the store, whose digest it then has. ``on_bytes`` hears how much came, negative when that is void.

        Raises ``RegistryError``, and ``CorruptBlobError`` when twice something else came; ``OSError`` of the disk.
        """
        self._ask(lambda client: self._download(client, blob, blobs, on_bytes))

    def fetch_part(self, blob: Descriptor, write: Callable[[bytes], object], *, start: int, end: int) -> None:
        """Pass the bytes of a blob from ``start`` to before ``end`` on. Nothing proves them but what the caller makes of them.

        Raises ``RegistryError``, also where parts are not to be had.
        """
        part = _Part(start, end, write)

        def read(client: RegistryClient) -> None:
            try:
                self._fill(client, blob, part)  # what a mirror began the next one goes on with
            except RestartError as error:
                raise RegistryError(f"{client.registry} sends no parts of blobs", registry=client.registry) from error

        self._ask(read)

    def _download(
        self, client: RegistryClient, blob: Descriptor, blobs: BlobStore, on_bytes: Callable[[int], None]
    ) -> None:
        """Put a blob into the store, in a few attempts that each begin at its beginning."""
        attempt = 0
        while True:
            attempt += 1
            with blobs.writer() as writer:

                def write(data: bytes, writer: BlobWriter = writer) -> None:
                    writer.write(data)
                    on_bytes(len(data))

                try:
                    self._fill(client, blob, _Part(0, blob.size, write))
                    writer.commit(expected=blob.digest, size=blob.size)
                    return
                except RestartError as error:
                    on_bytes(-writer.size)
                    if attempt == TRIES:
                        client.give_up(Busy(f"it begins {blob.digest} anew each time, and does not come to its end"))
                    client.wait(Busy(str(error)), attempt - 1)
                except CorruptBlobError:
                    on_bytes(-writer.size)
                    if attempt >= 2:
                        raise
                except BaseException:
                    on_bytes(-writer.size)
                    raise

    def _fill(self, client: RegistryClient, blob: Descriptor, part: _Part) -> None:
        """Read a part of a blob to its end, going on from where it was when a connection ends early."""
        attempt, counted = 0, part.at
        while part.at < part.end or not blob.size:
            try:
                client.read_blob(self.name, blob, part.take, start=part.at, end=part.end)
                if part.at >= part.end:
                    return
                raise Busy(f"the connection ended after {part.at} of {blob.size} bytes")
            except Busy as error:
                if part.at - counted >= _PROGRESS_BYTES:
                    attempt, counted = 0, part.at
                attempt += 1
                if attempt == TRIES:
                    client.give_up(error)
                client.wait(error, attempt - 1)

    # --- writing: to the registry itself ----------------------------------------------------------------------------

    def has_blob(self, digest: Digest) -> bool:
        """Return whether the blob is there. Raises ``RegistryError``."""
        return self._own.has_blob(self.name, digest)

    def mount_blob(self, digest: Digest, *, source: str) -> bool:
        """Have a blob of another repository of the same registry here; False where that is not done."""
        return self._own.mount_blob(self.name, digest, source=source)

    def send_blob(self, blob: Descriptor, open_body: Callable[[], Iterable[bytes]]) -> None:
        """Send a blob. Raises ``RegistryError``."""
        self._own.send_blob(self.name, blob, open_body)

    def send_manifest(self, reference: str, raw: bytes, *, media_type: str) -> Digest:
        """Put a manifest under a tag or its digest, and return that. Raises ``RegistryError``."""
        return self._own.send_manifest(self.name, reference, raw, media_type=media_type)

    def send_artifact(self, raw: bytes) -> bool:
        """Put a manifest that refers to another, and return whether the registry lists it. Raises ``RegistryError``."""
        return self._own.send_artifact(self.name, raw)

    def _ask(self, call: Callable[[RegistryClient], T]) -> T:
        """Ask the mirrors one after the other, and the registry itself last, whose failure is the one that counts."""
        for client in self._mirrors:
            if client in self._down:
                continue
            try:
                return call(client)
            except UnreachableError:
                self._down.add(client)  # once is long enough to wait for nobody
                continue
            except (RegistryError, CorruptBlobError):
                continue
        return call(self._own)


class Registries:
    """The registries that a command speaks to, each by one connection pool. Use it as a context manager.

    Raises ``CarboyError`` (125) for settings that cannot be read.
    """

    def __init__(self, home: str, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._settings = read_registries(home)
        self._web = read_web_settings(environ)
        self._clients: dict[tuple[Endpoint, Login | None], RegistryClient] = {}

    def __enter__(self) -> Registries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()

    def open(self, reference: Reference, *, insecure: bool = False) -> Repository:
        """Return the repository that a name is in; nobody is asked for anything yet. ``insecure`` stands for the setting."""
        settings = dict(self._settings)
        if insecure:
            known = settings.get(reference.registry, RegistrySettings())
            settings[reference.registry] = replace(known, insecure=True)
        *mirrors, own = [
            self._client(one, reference.repository) for one in plan_endpoints(reference.registry, settings)
        ]
        return Repository(reference.repository, mirrors, own)

    def open_client(self, registry: str, login: Login, *, insecure: bool = False) -> RegistryClient:
        """Return a client of the registry itself, as somebody with this login."""
        own = self._settings.get(registry, RegistrySettings())
        return self._make(plan_endpoint(registry, replace(own, insecure=own.insecure or insecure)), login)

    def _client(self, endpoint: Endpoint, repository: str) -> RegistryClient:
        name = f"{endpoint.prefix}{repository}"
        return self._make(endpoint, find_login(endpoint.registry, name, environ=self._environ))

    def _make(self, endpoint: Endpoint, login: Login | None) -> RegistryClient:
        key = endpoint, login
        if key not in self._clients:
            transport = Transport(endpoint, web=self._web, login=login, certificates=read_certificates(endpoint))
            self._clients[key] = RegistryClient(transport)
        return self._clients[key]

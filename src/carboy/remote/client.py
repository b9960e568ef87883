"""The calls of a registry's API, each checked against what it must answer. Source: OCI distribution-spec 1.1."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, urlsplit

from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES, parse_json
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.mediatypes import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST
from carboy.remote.answers import Busy, read_capped
from carboy.remote.errors import DeniedError, NotThereError, RegistryError, RestartError
from carboy.remote.tokens import make_scope
from carboy.remote.transport import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import httpx

    from carboy.oci.descriptor import Descriptor
    from carboy.remote.transport import Transport

ACCEPTED = (INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
MAX_TAGS = 100_000
_PAGE = 1000  # more is an error at ECR
# A registry may read all of a large blob again, or copy it, before it answers.
_THINKING_S = 600.0
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedManifest:
    """A manifest or an index: its bytes, as the registry sent them, with their sha256 and their media type."""

    raw: bytes
    media_type: str
    digest: Digest


class RegistryClient:
    """The API of one endpoint, from any thread. Names of repositories are those of the registry that it answers for.

    Every call raises ``RegistryError``: ``NotThereError``, ``DeniedError``, ``UnreachableError``, or what else was answered.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._prefix = transport.endpoint.prefix

    @property
    def registry(self) -> str:
        """The registry's name, for people."""
        return self._transport.endpoint.registry

    @property
    def is_mirror(self) -> bool:
        """Whether it answers for another registry."""
        return self._transport.endpoint.is_mirror

    def close(self) -> None:
        """End the connections."""
        self._transport.close()

    def wait(self, error: Busy, attempt: int) -> None:
        """Wait before the next attempt at a blob."""
        self._transport.wait(error, attempt)

    def give_up(self, error: Busy) -> NoReturn:
        """Raise what a failure is when it stays."""
        self._transport.give_up(error)

    def check_login(self) -> None:
        """Return when the registry lets this person in."""

        def once() -> None:
            with self._transport.open(Request(method="GET", target="v2/", answers=(200, 401))) as response:
                if response.status_code == 401:
                    raise DeniedError(
                        f"{self.registry} does not know this user, or not with this password",
                        registry=self.registry,
                        status=401,
                        hint="check both; some registries want a token in the password's place",
                    )

        self._transport.retry(once)

    # --- reading ----------------------------------------------------------------------------------------------------

    def fetch_manifest(self, repository: str, reference: str) -> FetchedManifest:
        """Return the manifest under a tag or a digest, whose bytes are then what the digest says."""
        request = Request(
            method="GET",
            target=f"v2/{self._prefix}{repository}/manifests/{reference}",
            scopes=self._scopes(repository, "pull"),
            headers={"Accept": ", ".join(ACCEPTED)},
        )

        def once() -> FetchedManifest:
            with self._transport.open(request) as response:
                data = read_capped(response.iter_raw(), MAX_DOCUMENT_BYTES)
                if len(data) > MAX_DOCUMENT_BYTES:
                    self._wrong(f"a manifest of more than {MAX_DOCUMENT_BYTES} bytes")
                return self._check_manifest(data, response, reference)

        try:
            return self._transport.retry(once)
        except NotThereError as error:
            name = f"{repository}{'@' if ':' in reference else ':'}{reference}"
            raise NotThereError(
                f"there is no image {name} at {self.registry}",
                registry=self.registry,
                status=error.status,
                details=error.details,
                hint="check the name",
            ) from error

    def read_blob(
        self,
        repository: str,
        blob: Descriptor,
        write: Callable[[bytes], object],
        *,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        """Pass a blob on from the byte ``start`` to before ``end`` (None: all of it), in one attempt, never more than that.

        Raises ``Busy`` for what may go right the next time, from where it was; ``RestartError`` when something else comes than
        the part that was asked for, before anything is passed on. The caller compares the digest.
        """
        end = blob.size if end is None else end
        asked = f"bytes={start}-" if end == blob.size else f"bytes={start}-{end - 1}"
        request = Request(
            method="GET",
            target=f"v2/{self._prefix}{repository}/blobs/{blob.digest}",
            scopes=self._scopes(repository, "pull"),
            headers={"Range": asked} if start or end < blob.size else None,
            answers=(200, 206),
        )
        with self._transport.open(request) as response:
            if request.headers and not _continues(response, start):
                raise RestartError
            size = start
            # As it comes: what waited for more of its chunk would be lost with the connection.
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > end:
                    self._wrong(f"more than the {end} bytes of {blob.digest} that were asked for")
                write(chunk)

    def list_tags(self, repository: str) -> list[str]:
        """Return the tags of a repository."""
        target = f"v2/{self._prefix}{repository}/tags/list?n={_PAGE}"
        found: dict[str, None] = {}
        while target:
            before = len(found)
            request = Request(method="GET", target=target, scopes=self._scopes(repository, "pull"))
            tags, target = self._transport.retry(lambda request=request: self._read_tags(request))  # type: ignore[misc]
            found |= dict.fromkeys(tags)
            if len(found) > MAX_TAGS:
                self._wrong(f"more than {MAX_TAGS} tags")
            if len(found) == before:
                break  # a page without a new tag is the last one, whatever it says of another
        return list(found)

    def fetch_referrers(self, repository: str, digest: Digest) -> bytes | None:
        """Return the index of what refers to a manifest (the first page of a long one), None where the registry has none."""
        request = Request(
            method="GET",
            target=f"v2/{self._prefix}{repository}/referrers/{digest}",
            scopes=self._scopes(repository, "pull"),
            headers={"Accept": INDEX},
            answers=(200, 400, 404, 405),
        )

        def once() -> bytes | None:
            with self._transport.open(request) as response:
                data = read_capped(response.iter_bytes(), MAX_DOCUMENT_BYTES)
                is_list = response.status_code == 200 and len(data) <= MAX_DOCUMENT_BYTES
                return data if is_list and response.headers.get("content-type", "").startswith(INDEX) else None

        return self._transport.retry(once)

    def _read_tags(self, request: Request) -> tuple[list[str], str]:
        with self._transport.open(request) as response:
            data = read_capped(response.iter_bytes(), MAX_DOCUMENT_BYTES)
            if len(data) > MAX_DOCUMENT_BYTES:
                self._wrong("a list of tags that is too long")
            try:
                tags = parse_json(data, "list of tags").get("tags") or []  # null, where there are none
            except InvalidDocumentError as error:
                self._wrong(error.brief)
            if not isinstance(tags, list):
                self._wrong("tags that are no list")
            link = _NEXT.search(response.headers.get("link", ""))
            following = str(response.request.url.join(link[1])) if link else ""
            # Nexus lists null, Artifactory digests, which are no tags.
            return [tag for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)], following

    def _check_manifest(self, data: bytes, response: httpx.Response, reference: str) -> FetchedManifest:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        digest = Digest.of(data)
        told = _parse_digest(response.headers.get("docker-content-digest", ""))
        asked = _parse_digest(reference) if ":" in reference else None
        for expected in (asked, told):
            if expected is not None and not _fits(expected, data):
                self._wrong(f"a manifest with the digest {digest}, in place of {expected}")
        if media_type not in ACCEPTED:
            media_type = self._find_media_type(data, media_type)
        return FetchedManifest(raw=data, media_type=media_type, digest=digest)

    def _find_media_type(self, data: bytes, told: str) -> str:
        """Return what a document calls itself, where the registry calls it JSON or nothing."""
        try:
            own = str(parse_json(data, "manifest").get("mediaType", ""))
        except InvalidDocumentError as error:
            self._wrong(error.brief)
        if told not in {"", "application/json", "application/octet-stream", "text/plain"} or own not in ACCEPTED:
            raise RegistryError(
                f"what {self.registry} has under that name is no image that carboy reads",
                registry=self.registry,
                details=f"its media type is {(own or told)[:200]!r}",
                hint="an artifact of another kind is fetched by its own tool; old images are pushed anew by a newer Docker",
            )
        return own

    # --- writing ----------------------------------------------------------------------------------------------------

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Return whether a repository has a blob."""
        request = Request(
            method="HEAD",
            target=f"v2/{self._prefix}{repository}/blobs/{digest}",
            scopes=self._scopes(repository, "pull", "push"),
            answers=(200, 404),
        )

        def once() -> bool:
            with self._transport.open(request) as response:
                return response.status_code == 200

        return self._transport.retry(once)

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        """Have a blob of the repository ``source`` in this one as well, without sending it; False where that is not done."""
        push, pull = self._scopes(repository, "pull", "push"), self._scopes(source, "pull")
        query = f"mount={digest}&from={quote(f'{self._prefix}{source}', safe='')}"
        request = Request(
            method="POST", target=self._uploads(repository, query), scopes=(*push, *pull), answers=(201, 202)
        )

        def once() -> bool:
            with self._transport.open(request) as response:
                if response.status_code == 202:
                    self._cancel(response, push)
                return response.status_code == 201

        try:
            return self._transport.retry(once)
        except RegistryError:
            return False  # it is sent, then

    def send_blob(self, repository: str, blob: Descriptor, open_body: Callable[[], Iterable[bytes]]) -> None:
        """Send a blob, whose bytes ``open_body`` gives, from the beginning for each attempt."""
        scopes = self._scopes(repository, "pull", "push")
        self._transport.retry(lambda: self._upload(repository, blob, open_body, scopes))

    def _upload(
        self, repository: str, blob: Descriptor, open_body: Callable[[], Iterable[bytes]], scopes: tuple[str, ...]
    ) -> None:
        begin = Request(method="POST", target=self._uploads(repository, ""), scopes=scopes, answers=(202,))
        with self._transport.open(begin) as response:
            location = self._read_location(response)
        # One PATCH and one PUT, as Docker sends them: what every registry has seen most. (ECR answers 201 to the first.)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        part = Request(
            method="PATCH",
            target=location,
            scopes=scopes,
            headers=headers,
            body=open_body,
            answers=(202, 201, 204),
            patience_s=_THINKING_S,
        )
        with self._transport.open(part) as response:
            location = self._read_location(response)
        separator = "&" if urlsplit(location).query else "?"
        target = f"{location}{separator}digest={blob.digest}"
        end = Request(method="PUT", target=target, scopes=scopes, answers=(201, 204), patience_s=_THINKING_S)
        with self._transport.open(end) as response:
            response.read()

    def send_manifest(self, repository: str, reference: str, raw: bytes, *, media_type: str) -> Digest:
        """Put a manifest or an index under a tag, or under its own digest, and return the digest."""
        self._put_manifest(repository, reference, raw, media_type)
        return Digest.of(raw)

    def send_artifact(self, repository: str, raw: bytes) -> bool:
        """Put a manifest that refers to another under its digest, and return whether the registry lists it as a referrer."""
        return "oci-subject" in self._put_manifest(repository, str(Digest.of(raw)), raw, MANIFEST)

    def _put_manifest(self, repository: str, reference: str, raw: bytes, media_type: str) -> httpx.Headers:
        request = Request(
            method="PUT",
            target=f"v2/{self._prefix}{repository}/manifests/{reference}",
            scopes=self._scopes(repository, "pull", "push"),
            headers={"Content-Type": media_type, "Content-Length": str(len(raw))},
            body=lambda: (raw,),
            answers=(201, 200, 202),
        )

        def once() -> httpx.Headers:
            with self._transport.open(request) as response:
                told = _parse_digest(response.headers.get("docker-content-digest", ""))
                if told is not None and not _fits(told, raw):
                    self._wrong(f"that it has {told}, when {Digest.of(raw)} was sent")
                return response.headers

        return self._transport.retry(once)

    def _uploads(self, repository: str, query: str) -> str:
        return f"v2/{self._prefix}{repository}/blobs/uploads/" + (f"?{query}" if query else "")

    def _read_location(self, response: httpx.Response) -> str:
        location: str = response.headers.get("location", "")
        if not location:
            self._wrong("no address for an upload")
        # Relative ones are so to the address that was asked.
        return str(response.request.url.join(location))

    def _cancel(self, response: httpx.Response, scopes: tuple[str, ...]) -> None:
        """End an upload that a refused mount began: it would stay there for days."""
        location = response.headers.get("location", "")
        if not location:
            return
        target = str(response.request.url.join(location))
        request = Request(method="DELETE", target=target, scopes=scopes, answers=range(200, 500))
        try:
            with self._transport.open(request):
                pass
        except (RegistryError, Busy):
            pass  # it ends by itself, later

    def _scopes(self, repository: str, *actions: str) -> tuple[str, ...]:
        return (make_scope(f"{self._prefix}{repository}", *actions),)

    def _wrong(self, what: str) -> NoReturn:
        raise RegistryError(
            f"{self.registry} answers what it must not",
            registry=self.registry,
            details=f"it sends {what}",
            hint="try again; if it stays, ask who keeps the registry",
        )


def _parse_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        return None


def _fits(digest: Digest, data: bytes) -> bool:
    return hashlib.new(digest.algorithm, data).hexdigest() == digest.hex


def _continues(response: httpx.Response, start: int) -> bool:
    """Return whether an answer is the part that was asked for."""
    part = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
    return response.status_code == 206 and part is not None and int(part[1]) == start

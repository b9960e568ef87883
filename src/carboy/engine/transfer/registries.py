"""``login``, ``logout``, ``pull`` and ``push``: images between the store and registries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.attest.kept import carry_attestations
from carboy.base.fs import translate_os_errors
from carboy.containers.events import write_event
from carboy.engine.platforms import read_platform
from carboy.engine.transfer.fetched import find_locations, keep_fetched, note_location
from carboy.errors import CarboyError
from carboy.images.archive import SavedImage
from carboy.images.output.compress import compress_image
from carboy.images.output.request import Compression
from carboy.images.transport.pull import pull_documents, pull_layers
from carboy.images.transport.push import push_image
from carboy.images.transport.referrers import is_referrers_tag, pull_referrers, push_referrers
from carboy.oci.platform import Platform
from carboy.oci.reference import DEFAULT_TAG, Reference
from carboy.remote.repository import Registries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.engine.context import Engine
    from carboy.images.transport.progress import TransferProgress
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.remote.logins import Login
    from carboy.remote.repository import Repository

# How layers are compressed on their way, unless somebody asks otherwise: what every registry and every runtime reads.
USUAL_COMPRESSION = Compression(kind="gzip")


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """An image that is now here under ``name``: its manifest, what the registry has under the name, and whether that is new."""

    name: Reference
    descriptor: Descriptor
    top: Digest
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """An image that a registry now has under ``name``: the descriptor of what the tag stands for there."""

    name: Reference
    descriptor: Descriptor


# --- who one is -----------------------------------------------------------------------------------------------------


def log_in(home: str, registry: str, login: Login, *, environ: Mapping[str, str], insecure: bool = False) -> str:
    """Keep a login, once the registry has let it in, and return where. Raises ``RegistryError``, ``CarboyError``."""
    from carboy.remote.logins import keep_login

    with Registries(home, environ) as registries:
        registries.open_client(registry, login, insecure=insecure).check_login()
    return keep_login(registry, login, environ=environ)


# --- pull -----------------------------------------------------------------------------------------------------------


def pull(
    engine: Engine,
    name: str,
    *,
    platform: str = "",
    all_tags: bool = False,
    progress: TransferProgress,
    say: Callable[[str], None] = lambda _: None,
) -> list[PulledImage]:
    """Fetch an image, or all tags of its repository, and give it its name here. ``platform`` "" is this machine's.

    ``say`` hears of each tag before it comes. Raises ``CarboyError``; no name is given then to what is not whole.
    """
    reference = _parse(name, all_tags=all_tags)
    wanted = read_platform(platform) if platform else None
    with Registries(engine.home.path, engine.environ) as registries:
        repository = registries.open(reference)
        names = [reference]
        if all_tags:
            names = [replace(reference, tag=tag) for tag in repository.list_tags() if not is_referrers_tag(tag)]
        pulled = []
        for one in names:
            say(f"{one.digest or one.tag}: Pulling from {one.repository}")
            with engine.store.lease("pull"), translate_os_errors("pull the image"):
                documents = pull_documents(repository, engine.store, one, platform=wanted)
                pull_layers(
                    repository, engine.store, documents, tier_chown=engine.tier.name != "single", progress=progress
                )
                own = replace(one, tag=None) if one.digest else one
                before = engine.store.refs.get(str(own))
                engine.store.refs.set(str(own), documents.descriptor)
                pull_referrers(repository, engine.store, documents.descriptor)
                keep_fetched(engine.store, own, documents, platform=wanted or Platform.current())
                note_location(engine.store, repository, documents.descriptor)
            write_event(engine.home.path, "image", "pull", id=str(documents.descriptor.digest), name=one.familiar)
            is_new = before is None or before.digest != documents.descriptor.digest
            pulled.append(PulledImage(name=one, descriptor=documents.descriptor, top=documents.top, is_new=is_new))
    return pulled


def _parse(name: str, *, all_tags: bool) -> Reference:
    reference = Reference.parse(name)
    if all_tags and (reference.digest is not None or reference.tag != DEFAULT_TAG or name.endswith(f":{DEFAULT_TAG}")):
        raise CarboyError("tag can't be used with --all-tags/-a", hint="name the repository alone", code=2)
    return reference


# --- push -----------------------------------------------------------------------------------------------------------


def push(
    engine: Engine,
    name: str,
    *,
    all_tags: bool = False,
    compression: Compression = USUAL_COMPRESSION,
    documents: bool = True,
    progress: TransferProgress,
    note: Callable[[str], None] = lambda _: None,
) -> list[PushedImage]:
    """Send an image to the repository that its name says, or all images of that repository that are here.

    Layers are compressed for it, each once. Its ``documents`` (``engine.documents``) go along; ``note`` hears when they cannot.
    Raises ``CarboyError``.
    """
    from carboy.engine.images import resolve_image

    reference = _parse(name, all_tags=all_tags)
    if reference.digest is not None:
        raise CarboyError(
            "an image cannot be pushed to a digest", hint="give it a name with `carboy tag` first", code=2
        )
    found = [(reference, resolve_image(engine, str(reference)))] if not all_tags else _list_tags(engine, reference)
    pushed = []
    with Registries(engine.home.path, engine.environ) as registries:
        for one, descriptor in found:
            with engine.store.lease("push"):
                sent = send(
                    engine,
                    registries,
                    one,
                    descriptor,
                    compression=compression,
                    documents=documents,
                    progress=progress,
                    note=note,
                )
            pushed.append(PushedImage(name=one, descriptor=sent))
    return pushed


def send(
    engine: Engine,
    registries: Registries,
    name: Reference,
    descriptor: Descriptor,
    *,
    compression: Compression,
    progress: TransferProgress,
    insecure: bool = False,
    by_digest: bool = False,
    documents: bool = True,
    note: Callable[[str], None] = lambda _: None,
) -> Descriptor:
    """Send one image of the store under a name, or by its digest alone, and return what the registry has then.

    The caller holds a lease. See :func:`push`.
    """
    repository = registries.open(name, insecure=insecure)
    with translate_os_errors("compress the layers"):
        ready = compress_image(engine.store, descriptor, compression)
    image = SavedImage(
        descriptor=ready, names=(name,), attestations=carry_attestations(engine.store, descriptor, ready)
    )
    tags = () if by_digest else (name.tag or DEFAULT_TAG,)
    elsewhere = find_locations(engine.store, repository)
    top = push_image(repository, engine.store, image, tags, elsewhere=elsewhere, progress=progress)
    if documents:
        _send_documents(engine, repository, descriptor, ready, note=note)
    note_location(engine.store, repository, ready)
    write_event(engine.home.path, "image", "push", id=str(descriptor.digest), name=name.familiar)
    return top


def _send_documents(
    engine: Engine, repository: Repository, image: Descriptor, ready: Descriptor, *, note: Callable[[str], None]
) -> None:
    from carboy.engine.documents.referrers import collect_referrers

    try:
        for one, referrers in collect_referrers(engine, image, ready):
            push_referrers(repository, engine.store, one, referrers.manifests)
    except CarboyError as error:  # the image is there, and what is said of it is no part of it
        note(f"SBOM, provenance and licences were not sent along: {error.brief}")


def _list_tags(engine: Engine, wanted: Reference) -> list[tuple[Reference, Descriptor]]:
    found = [(Reference.parse(text), descriptor) for text, descriptor, _ in engine.store.refs.list()]
    own = [
        (name, descriptor)
        for name, descriptor in found
        if (name.registry, name.repository) == (wanted.registry, wanted.repository) and name.digest is None
    ]
    if not own:
        raise CarboyError(
            f"there is no image of {wanted.familiar_name} here", hint="`carboy images` lists what there is"
        )
    return own

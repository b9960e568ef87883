"""Building with a Dockerfile: what is asked for to a graph, its checks, its steps, its image."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.credentials import redact
from carboy.build.dockerfile.arguments import ContextSource, SecretSource
from carboy.build.dockerfile.convert import check_syntax, convert
from carboy.build.dockerfile.git import parse_git_address
from carboy.build.dockerfile.given import NETWORK_HOST, BuildInput, NamedContext, NamedImage, platform_names
from carboy.build.dockerfile.settings import split_env
from carboy.build.graph import ops
from carboy.build.solver.bases import StoreResolver
from carboy.build.solver.recipes import Bases
from carboy.build.sources import read_ignore
from carboy.dockerfile.checks import BaseFacts, CheckInput, check, read_check_options
from carboy.dockerfile.errors import LanguageError, Span
from carboy.dockerfile.ignore import Ignore, compile_ignore, parse_ignore
from carboy.dockerfile.instructions.model import Dockerfile
from carboy.dockerfile.parser import parse
from carboy.dockerfile.rules import CheckOptions, CheckWarning
from carboy.dockerfile.scope import PROXIES
from carboy.engine.builds.platforms import Counted, combine
from carboy.engine.contexts import Located, find_time, git_operation, locate
from carboy.engine.dockerfile_request import EPOCH, DockerfileRequest
from carboy.engine.documents.making import note_dockerfile
from carboy.engine.platforms import read_platform, split_platforms
from carboy.engine.transfer.bases import RegistryBases
from carboy.errors import CarboyError
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from carboy.build.graph.options import BuildOptions
    from carboy.build.solver.progress import GraphProgress
    from carboy.build.solver.solver import GraphContext, GraphResult
    from carboy.engine.builds.recorder import Recorder
    from carboy.engine.context import Engine

_MAX_EPOCH = 2**33


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What the checks found, in which file, and whether a finding is an error."""

    dockerfile: Dockerfile
    warnings: tuple[CheckWarning, ...]
    options: CheckOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read of a request."""

    located: Located
    dockerfile: Dockerfile
    ignore: Ignore | None
    platform: Platform
    build_args: Mapping[str, str]
    resolver: StoreResolver


def check_dockerfile(engine: Engine, request: DockerfileRequest) -> CheckReport:
    """Return what the build checks find; nothing is built. Raises ``CarboyError``."""
    with engine.store.lease("plan"):
        request = _list_singles(request)[0]
        with _open_read(engine, request) as read:
            return _check(request, read)


def plan_dockerfile(engine: Engine, request: DockerfileRequest) -> ops.Image:
    """Return the graph of a build; nothing is run, fetched or written. Raises ``CarboyError``."""
    with engine.store.lease("plan"), _open_read(engine, request) as read:
        return _plan(request, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedStep:
    """A step for people: ``where`` it is written, whether it is there (None: only the build can tell), and why.

    ``network`` is the one that a RUN has, "" for what is none, and ``network_reason`` why it is not one of its own.
    """

    title: str
    where: str
    cached: bool | None
    reason: str
    network: str = ""
    network_reason: str = ""


def describe_dockerfile(engine: Engine, request: DockerfileRequest) -> list[DescribedStep]:
    """Return the steps of a build, with what would be done; nothing is run, fetched or made. Raises ``CarboyError``."""
    from carboy.build.solver.progress import SilentGraphProgress
    from carboy.build.solver.solver import preview

    steps = []
    with engine.store.lease("plan"):  # a repository that is checked out for this stays
        for single in _list_singles(request):
            with _open_read(engine, single) as read:
                image = _plan(single, read)
                steps += preview(image, _context(engine, single, read, SilentGraphProgress()))
    networks = _Networks(engine, request, read.build_args)
    return [
        DescribedStep(
            title=s.title,
            where=str(s.location or ""),
            cached=s.cached,
            reason=s.reason,
            **networks.describe(s.network),
        )
        for s in steps
    ]


class _Networks:
    """Says which network a step has; the machine is asked once, and only where a step wants to know."""

    def __init__(self, engine: Engine, request: DockerfileRequest, build_args: Mapping[str, str]) -> None:
        self._engine = engine
        self._default = request.network
        self._build_args = build_args
        self._found: dict[str, str] = {}

    def describe(self, wanted: str) -> dict[str, str]:
        """Return ``network`` and ``network_reason`` of a step that asks for ``wanted``."""
        network = self._default if wanted == "default" else wanted
        if network != "default":
            return {"network": network}
        if not self._found:
            from carboy.build.running.host import read_host_settings
            from carboy.build.running.networks import find_default_network

            given = {name: self._build_args[name] for name in self._build_args if name.lower().endswith("_proxy")}
            settings = {**dict(read_host_settings(self._engine.environ).env), **given}
            reach = find_default_network(self._engine.tier.name, settings)
            self._found = {"network": reach.network}
            if reach.network == "host":
                self._found["network_reason"] = reach.reason
        return self._found


def build_dockerfile(
    engine: Engine,
    request: DockerfileRequest,
    *,
    progress: GraphProgress,
    warn: Callable[[CheckWarning], None] = lambda _: None,
    recorder: Recorder | None = None,
) -> GraphResult:
    """Build an image, under the request's names, and return what came of it; ``warn`` gets what the checks find.

    ``recorder`` notes what it depends on, for the same build to be told again.

    Raises ``CarboyError``: for what is wrong with the file, for a step that fails, and for a finding that ``#
    check=error=true`` makes an error, before anything is built.
    """
    from carboy.containers.events import write_event

    references = [Reference.parse(name) for name in request.names]
    with engine.store.lease("build"):  # until it has its names
        singles = _list_singles(request)
        if len(singles) > 1:
            result = _build_all(engine, singles, request.names, progress=progress, warn=warn, recorder=recorder)
        else:
            result = _build_one(engine, request, progress=progress, warn=warn, recorder=recorder)
    if references or not result.cached:
        name = references[0].familiar if references else ""
        write_event(engine.home.path, "image", "build", id=str(result.descriptor.digest), name=name)
    return result


def _build_all(
    engine: Engine,
    singles: Sequence[DockerfileRequest],
    names: Sequence[str],
    *,
    progress: GraphProgress,
    warn: Callable[[CheckWarning], None],
    recorder: Recorder | None,
) -> GraphResult:
    """Build for each platform, one after the other: what they share is made once. The names are the index's."""
    told: set[str] = set()

    def warn_once(warning: CheckWarning) -> None:
        if str(warning) not in told:
            told.add(str(warning))
            warn(warning)

    for single in singles:
        read_platform(single.platform)
    counted = Counted(progress)
    results = []
    for number, single in enumerate(singles):
        targets = tuple(replace(target, adds=number > 0) for target in single.cache_to)
        own = replace(single, cache_to=targets)
        results.append(_build_one(engine, own, progress=counted, warn=warn_once, recorder=recorder))
        counted.go_on()
    result = combine(engine.store, results)
    for name in names:
        engine.store.refs.set(str(Reference.parse(name)), result.descriptor)
    return result


def _list_singles(request: DockerfileRequest) -> list[DockerfileRequest]:
    """Return a request for each platform that is asked for."""
    platforms = split_platforms(request.platform)
    if len(platforms) == 1:
        return [replace(request, platform=platforms[0])]
    return [replace(request, platform=one, names=(), is_one_of_several=True) for one in platforms]


def _build_one(
    engine: Engine,
    request: DockerfileRequest,
    *,
    progress: GraphProgress,
    warn: Callable[[CheckWarning], None],
    recorder: Recorder | None,
) -> GraphResult:
    with _open_read(engine, request) as read:
        report = _check(request, read)
        for warning in report.warnings:
            warn(warning)
        if report.warnings and report.options.error:
            rules = ", ".join(dict.fromkeys(warning.rule for warning in report.warnings))
            raise CarboyError(f"lint violation found for rules: {rules}", hint="carboy build --check shows where")
        result = _solve(engine, request, read, progress)
        read.resolver.note_names()
    for name in request.names:
        engine.store.refs.set(str(Reference.parse(name)), result.descriptor)
    note_dockerfile(engine.store, result.descriptor.digest, request, bases=read.resolver.asked)
    if recorder is not None:
        from carboy.engine.builds.recorder import FinishedBuild

        build = FinishedBuild(
            request=request,
            text=read.located.text,
            bases=read.resolver.asked,
            result=result,
            warnings=tuple(map(str, report.warnings)),
        )
        recorder.note(engine, build)
    return result


def _solve(engine: Engine, request: DockerfileRequest, read: _Read, progress: GraphProgress) -> GraphResult:
    from carboy.build.solver.solver import solve

    image = _plan(request, read)
    try:
        return solve(image, _context(engine, request, read, progress))
    except CarboyError as error:
        error.code = 1  # what a sandbox says is the build's failure, not a container's
        raise


@contextmanager
def _open_read(engine: Engine, request: DockerfileRequest) -> Iterator[_Read]:
    """Read a request, and keep what its images come from open for the block."""
    registries = RegistryBases(engine, refresh=request.refresh)
    try:
        yield _read(engine, request, registries)
    finally:
        registries.close()


def _read(engine: Engine, request: DockerfileRequest, registries: RegistryBases) -> _Read:
    located = locate(engine, request)
    text = located.text
    dockerfile = parse(text.data, file=text.name)
    platform = read_platform(request.platform)
    # Predefined ARGs: what RUN has of them is part of no key unless the Dockerfile declares them.
    args = {name: engine.environ[name] for each in PROXIES for name in (each, each.lower()) if engine.environ.get(name)}
    args |= request.build_args
    if EPOCH in engine.environ:
        args.setdefault(EPOCH, engine.environ[EPOCH])
    _date(engine, request, located, dockerfile, args)
    check_syntax(dockerfile, args)
    return _Read(
        located=located,
        dockerfile=dockerfile,
        ignore=_compile(text.ignore, text.ignore_name),
        platform=platform,
        build_args=args,
        resolver=StoreResolver(engine.store, Bases(engine.home.path), registries=registries),
    )


def _date(
    engine: Engine, request: DockerfileRequest, located: Located, dockerfile: Dockerfile, args: dict[str, str]
) -> None:
    """Put a number where SOURCE_DATE_EPOCH names a source. Raises ``LanguageError`` for what has no time."""
    text = args.get(EPOCH, "")
    if not text or (text.isascii() and text.isdecimal()):
        return
    found = find_time(engine, request, located, dockerfile, name=text)
    if found is None:
        wrong = LanguageError(
            f"{EPOCH} is neither a number of seconds nor a source that has a time: {text}",
            hint="write it as 1700000000, or as the context, named context or stage that is a repository",
        )
        raise dockerfile.source.error(wrong, Span(0, 0))
    args[EPOCH] = str(found)


def _compile(text: str, name: str) -> Ignore | None:
    patterns = parse_ignore(text, file=name) if text else ()
    return compile_ignore(patterns) if patterns else None


def _check(request: DockerfileRequest, read: _Read) -> CheckReport:
    def facts(name: str) -> BaseFacts | None:
        try:
            # As the build does: one that is made for the platform is not the one of that name that the store has.
            image = read.resolver.resolve(name, platform=read.platform if request.platform else None)
        except CarboyError:
            return None
        config = image.config
        return BaseFacts(
            env=split_env(config.Env),
            shell=bool(config.Shell),
            platform=platform_names(image.platform),
            triggers=tuple(config.OnBuild or ()),
        )

    options = read_check_options(read.dockerfile, read.build_args)
    given = CheckInput(
        platform=platform_names(read.platform),
        build_args=read.build_args,
        target=request.target,
        contexts=frozenset(request.contexts),
        base=facts,
        ignore=read.ignore,
    )
    return CheckReport(
        dockerfile=read.dockerfile, warnings=tuple(check(read.dockerfile, given, options=options)), options=options
    )


def _plan(request: DockerfileRequest, read: _Read) -> ops.Image:
    ignore = read.ignore
    context = read.located.context
    if context is None:
        context = ops.LocalContext(ignore=ignore, patterns=ignore.patterns if ignore is not None else ())
    given = BuildInput(
        context=context,
        resolver=read.resolver,
        platform=read.platform,
        build_platform=Platform.current(),
        platform_given=bool(request.platform),
        is_one_of_several=request.is_one_of_several,
        build_args=read.build_args,
        labels=request.labels,
        target=request.target,
        contexts={name: _named(name, source) for name, source in request.contexts.items()},
        no_cache=request.no_cache,
        no_cache_stages=request.no_cache_stages,
        allow=request.allow | ({NETWORK_HOST} if request.network == "host" else frozenset()),
    )
    return convert(read.dockerfile, given)


def _named(name: str, source: ContextSource) -> NamedContext:
    if source.kind == "image":
        return NamedImage(image=source.value)
    if source.kind == "git":
        address = parse_git_address(source.value)
        assert address is not None, source.value
        return git_operation(address, title=f"[context {name}] load git source {redact(source.value)}")
    if not os.path.isdir(source.value):
        raise CarboyError(f"--build-context {name}: there is no folder {source.value}", hint="name a folder", code=2)
    text, ignore_name = read_ignore(source.value)
    ignore = _compile(text, ignore_name)
    patterns = ignore.patterns if ignore is not None else ()
    return ops.LocalContext(name=name, ignore=ignore, patterns=patterns, title=f"[context {name}] load from client")


def _context(engine: Engine, request: DockerfileRequest, read: _Read, progress: GraphProgress) -> GraphContext:
    from carboy.build.solver.solver import GraphContext

    return GraphContext(
        store=engine.store,
        home=engine.home,
        runtime=engine.runtime(),
        tier=engine.tier,
        options=_options(engine, request, read),
        progress=progress,
        registries=read.resolver.registries,
    )


def _options(engine: Engine, request: DockerfileRequest, read: _Read) -> BuildOptions:
    from carboy.build.graph.options import BuildOptions

    folders = {name: source.value for name, source in request.contexts.items() if source.kind == "folder"}
    if read.located.folder:
        folders["context"] = read.located.folder
    return BuildOptions(
        contexts=folders,
        secrets={secret.id: _read_secret(secret, engine.environ) for secret in request.secrets},
        ssh=_check_agents(request.ssh),
        network=request.network,
        entitlements=request.allow,
        add_hosts=request.add_hosts,
        shm_bytes=request.shm_bytes,
        ulimits=request.ulimits,
        source_date_epoch=_epoch(read),
        environ=engine.environ,
        refresh=request.refresh,
        snapshot=request.snapshot,
        context_limit_bytes=_context_limit(engine, request),
        cache_from=request.cache_from,
        cache_to=request.cache_to,
    )


def _check_agents(sockets: Mapping[str, str]) -> Mapping[str, str]:
    """Return the sockets of agents. Raises ``CarboyError`` (2) for what is none: a step would only find nobody there."""
    for name, path in sockets.items():
        try:
            is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError as error:
            reason = error.strerror or ""
            raise CarboyError(
                f"--ssh {name}: there is no {path}", details=reason, hint="start an agent", code=2
            ) from error
        if not is_socket:
            hint = "keys are an agent's: ssh-agent, then ssh-add FILE, then --ssh default"
            raise CarboyError(f"--ssh {name}: {path} is not the socket of an agent", hint=hint, code=2)
    return sockets


def _context_limit(engine: Engine, request: DockerfileRequest) -> int:
    """Return how much of a context is read: as asked for, else as ``context-limit`` of the home has it."""
    from carboy.base.config import read_default
    from carboy.build.graph.options import DEFAULT_LIMIT_BYTES
    from carboy.runtime.limits import parse_bytes

    if request.context_limit_bytes is not None:
        return request.context_limit_bytes
    text = read_default("context-limit", home=engine.home.path, environ=engine.environ)
    try:
        return parse_bytes(text) if text else DEFAULT_LIMIT_BYTES
    except ValueError as error:
        hint = 'write context-limit = "20g" into config.toml, or CARBOY_CONTEXT_LIMIT=20g'
        raise CarboyError(f"context-limit: {error}", hint=hint, code=125) from error


def _epoch(read: _Read) -> int | None:
    text = read.build_args.get(EPOCH, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) < _MAX_EPOCH):
        wrong = LanguageError(f"{EPOCH} is not a number of seconds: {text}", hint="write it as 1700000000")
        raise read.dockerfile.source.error(wrong, Span(0, 0))
    return int(text)


def _read_secret(secret: SecretSource, environ: Mapping[str, str]) -> bytes:
    from carboy.build.graph.options import MAX_SECRET_BYTES

    what = f"--secret {secret.id}"
    if secret.env:
        if secret.env not in environ:
            raise CarboyError(f"{what}: the variable {secret.env} is not set", hint="set it, or leave it out", code=2)
        return os.fsencode(environ[secret.env])
    try:
        if secret.value is not None:
            data = secret.value
        else:
            with open(secret.path, "rb") as stream:
                data = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CarboyError(
            f"{what}: {secret.path} cannot be read", details=reason, hint="name a file", code=2
        ) from error
    if len(data) > MAX_SECRET_BYTES:
        raise CarboyError(f"{what} is larger than {MAX_SECRET_BYTES} bytes", hint="COPY a file in its place", code=2)
    return data

"""From the files that a person names (or none) to one tree: variables, ``extends``, several files, ``include``.

Order, as the specification has it: variables are replaced in each file, forms made long, ``extends`` followed, files merged,
then ``include`` adds what is missing. Files come from a ``FileReader``; everything else is pure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from carboy.compose.document.canonical import Canon, canonicalize
from carboy.compose.document.dotenv import parse_dotenv
from carboy.compose.document.files import FileReader
from carboy.compose.document.interpolate import TemplateError, interpolate, interpolate_tree
from carboy.compose.document.merge import enforce_unique, merge
from carboy.compose.document.nodes import List, Map, Node, Scalar, issue_at, plain, scalar_text, strip_tags
from carboy.compose.document.paths import is_remote, parent, resolve_path
from carboy.compose.document.yaml import parse_yaml
from carboy.compose.errors import ComposeError, Issue, Report

# What Compose looks for, in this order; an override beside the file is merged on top.
DEFAULT_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_NAMES = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
MAX_FILES = 100
SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What was asked for on the command line, and the circumstances: ``cwd`` is absolute."""

    cwd: str
    environment: Mapping[str, str]
    files: tuple[str, ...] = ()
    project_name: str = ""
    project_directory: str = ""
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTree:
    """One tree in long forms, and what the rest of a project is read with."""

    root: Map
    name: str
    directory: str
    files: tuple[str, ...]
    profiles: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a layer belongs: the folder of its paths, and its variables."""

    base: str
    variables: Mapping[str, str]


def load_tree(request: LoadRequest, reader: FileReader, report: Report) -> LoadedTree:
    """Return the merged tree of a project. Raises ``ComposeError`` when a file is missing, cannot be read, or is no project."""
    files, directory, variables = _find_files(request, reader)
    if not files:
        hint = "name one with -f, or go to the folder that has one"
        raise ComposeError(f"no compose file in {request.cwd} or above", hint=hint)
    loader = _Loader(reader, report, home=request.environment.get("HOME", ""))
    documents = [document for path in files for document in loader.documents(path)]
    name = _project_name(request, variables, documents, directory)
    variables = {**variables, "COMPOSE_PROJECT_NAME": name}
    root = loader.assemble(files, _Place(base=directory, variables=variables), chain=())
    report.check()
    profiles = request.profiles or tuple(part for part in variables.get("COMPOSE_PROFILES", "").split(",") if part)
    return LoadedTree(root=root, name=name, directory=directory, files=files, profiles=profiles, variables=variables)


def normalize_name(text: str) -> str:
    """Return a folder's name as a project name: lower case, without what names cannot have; empty when nothing is left."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def _find_files(request: LoadRequest, reader: FileReader) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """Return the files, the project's folder, and its variables: ``-f``, then COMPOSE_FILE, then the usual names upwards."""
    named = tuple(name if name == "-" else resolve_path(request.cwd, name) for name in request.files)
    named = named or _named_files(request.environment, request.cwd)
    if request.project_directory:
        directory = resolve_path(request.cwd, request.project_directory)
    else:
        directory = parent(named[0]) if named and named[0] != "-" else request.cwd
    variables = _read_variables(request, reader, directory)
    named = named or _named_files(variables, request.cwd)
    if named:
        return named, directory, variables
    for folder in _upwards(directory):
        for name in DEFAULT_NAMES:
            path = posixpath.join(folder, name)
            if reader.read(path) is None:
                continue
            overrides = (posixpath.join(folder, other) for other in OVERRIDE_NAMES)
            over = next((other for other in overrides if reader.read(other) is not None), None)
            if folder != directory and not request.project_directory:
                directory, variables = folder, _read_variables(request, reader, folder)
            return (path, *((over,) if over else ())), directory, variables
    return (), directory, variables


def _upwards(folder: str) -> list[str]:
    found = [folder]
    while (above := posixpath.dirname(found[-1])) != found[-1]:
        found.append(above)
    return found


def _named_files(variables: Mapping[str, str], base: str) -> tuple[str, ...]:
    separator = variables.get("COMPOSE_PATH_SEPARATOR") or ":"
    names = variables.get("COMPOSE_FILE", "").split(separator)
    return tuple(resolve_path(base, name) for name in names if name)


def _read_variables(request: LoadRequest, reader: FileReader, directory: str) -> dict[str, str]:
    """Return the environment with what ``.env`` (or ``--env-file``) adds; the environment wins."""
    named = request.env_files or tuple(
        part for part in request.environment.get("COMPOSE_ENV_FILES", "").split(",") if part
    )
    paths = [resolve_path(request.cwd, path) for path in named] or [posixpath.join(directory, ".env")]
    return _layer_variables(paths, reader, request.environment, required=bool(named))


def _layer_variables(
    paths: list[str], reader: FileReader, environment: Mapping[str, str], *, required: bool
) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        data = reader.read(path)
        if data is None and required:
            raise ComposeError(f"there is no environment file {path}", hint="correct its name")
        if data is not None:
            found |= parse_dotenv(data, file=path, environment={**found, **environment})
    return {**found, **environment}


def _project_name(request: LoadRequest, variables: Mapping[str, str], documents: list[Map], directory: str) -> str:
    """Return the name: ``-p``, then COMPOSE_PROJECT_NAME, then ``name:`` of the last file, then the folder's."""
    given = request.project_name or variables.get("COMPOSE_PROJECT_NAME", "")
    if not given:
        for document in documents:
            node = document.entries.get("name")
            if isinstance(node, Scalar) and node.value is not None:
                given = _interpolated_name(node, variables)
    if given:
        if not _NAME.fullmatch(given):
            hint = "use lower-case letters, digits, - and _, and begin with a letter or a digit"
            raise ComposeError(f"{given!r} cannot be the name of a project", hint=hint)
        return given
    name = normalize_name(posixpath.basename(directory))
    if not name:
        raise ComposeError(
            f"the folder {directory} gives no project name", hint="give one with -p, or write name: in the file"
        )
    return name


def _interpolated_name(node: Scalar, variables: Mapping[str, str]) -> str:
    try:
        return interpolate(scalar_text(node), variables).text
    except TemplateError as error:
        raise ComposeError("the project has no name", issues=(issue_at(node, "name", str(error)),)) from error


class _Loader:
    """Reads files once each, and makes layers of them."""

    def __init__(self, reader: FileReader, report: Report, *, home: str) -> None:
        self._reader = reader
        self._report = report
        self._home = home
        self._read: dict[str, list[Map]] = {}
        self._layers: dict[tuple[str, str], Map] = {}

    def documents(self, path: str) -> list[Map]:
        """Return the documents of a file as they were written."""
        if path in self._read:
            return self._read[path]
        if len(self._read) >= MAX_FILES:
            raise ComposeError(f"the project has more than {MAX_FILES} files")
        data = self._reader.read(path)
        if data is None:
            raise ComposeError(f"there is no compose file {path}", hint="correct its name")
        found: list[Map] = []
        for node in parse_yaml(data, file=path):
            if isinstance(node, Map):
                found.append(node)
            elif not isinstance(node, Scalar) or node.value is not None:
                raise ComposeError("a compose file is a mapping", issues=(issue_at(node, "", "this is none"),))
        if not found:
            raise ComposeError(f"the compose file {path} is empty", hint="write services: and what they are")
        self._read[path] = found
        return found

    def assemble(self, paths: tuple[str, ...], place: _Place, *, chain: tuple[str, ...]) -> Map:
        """Return the files merged, with what they include; ``chain`` is what included them."""
        merged: Map | None = None
        for path in paths:
            merged = self._add_layers(merged, path, place)
        if merged is None:
            raise AssertionError(paths)
        includes = merged.entries.get("include")
        stripped = strip_tags(enforce_unique(merged))
        root = stripped if isinstance(stripped, Map) else Map(at=merged.at)
        root = replace(root, entries={key: value for key, value in root.entries.items() if key != "include"})
        if includes is None:
            return root
        if not isinstance(includes, List):
            self._report.error(issue_at(includes, "include", "this is not a list"))
            return root
        for index, entry in enumerate(includes.items):
            root = self._include(root, entry, place, path=f"include[{index}]", chain=(*chain, *paths))
        return root

    def _add_layers(self, merged: Map | None, path: str, place: _Place) -> Map:
        for layer in self._canonical(path, place):
            extended = self._extend_all(layer, merged, path, place)
            over = merge(merged, extended, self._report) if merged is not None else extended
            merged = over if isinstance(over, Map) else extended
        if merged is None:
            raise AssertionError(path)
        return merged

    def _canonical(self, path: str, place: _Place) -> list[Map]:
        canon = Canon(base=place.base, home=self._home, report=self._report)
        layers = []
        for document in self.documents(path):
            node = interpolate_tree(document, place.variables, self._report)
            if isinstance(node, Map):
                layers.append(canonicalize(node, canon))
        return layers

    # --- extends ---------------------------------------------------------------------------------------------------

    def _extend_all(self, layer: Map, before: Map | None, path: str, place: _Place) -> Map:
        """Return a layer whose services hold what they extend."""
        services = layer.entries.get("services")
        if not isinstance(services, Map):
            return layer
        known = before.entries.get("services") if before is not None else None
        visible = {**(known.entries if isinstance(known, Map) else {}), **services.entries}
        made: dict[str, Node] = {
            name: self._extended(name, visible, path, place, chain=()) for name in services.entries
        }
        return replace(layer, entries={**layer.entries, "services": replace(services, entries=made)})

    def _extended(
        self, name: str, services: Mapping[str, Node], file: str, place: _Place, *, chain: tuple[tuple[str, str], ...]
    ) -> Node:
        service = services[name]
        extends = service.entries.get("extends") if isinstance(service, Map) else None
        if not isinstance(service, Map) or extends is None:
            return service
        own = replace(service, entries={key: value for key, value in service.entries.items() if key != "extends"})
        path = f"services.{name}.extends"
        if (file, name) in chain:
            shown = " -> ".join(item for _, item in (*chain, (file, name)))
            self._report.error(issue_at(extends, path, f"services extend each other in a circle: {shown}"))
            return own
        base = self._find_base(extends, services, file, place, path=path, chain=(*chain, (file, name)))
        if base is None:
            return own
        return merge(base, own, self._report, path=("services", name))

    def _find_base(
        self,
        extends: Node,
        services: Mapping[str, Node],
        file: str,
        place: _Place,
        *,
        path: str,
        chain: tuple[tuple[str, str], ...],
    ) -> Node | None:
        """Return the service that is extended, itself extended; None after a report."""
        target = extends.entries.get("service") if isinstance(extends, Map) else None
        if not isinstance(extends, Map) or not isinstance(target, Scalar):
            self._report.error(issue_at(extends, path, "this names no service"))
            return None
        name, other = scalar_text(target), extends.entries.get("file")
        if isinstance(other, Scalar) and other.value is not None:
            file = scalar_text(other)
            if is_remote(file) or self._reader.read(file) is None:
                self._report.error(issue_at(other, f"{path}.file", f"there is no file {file}"))
                return None
            services = self._services_of(file, replace(place, base=parent(file)))
        if name not in services:
            self._report.error(issue_at(target, path, f"there is no service {name} in {file}"))
            return None
        there = place if other is None else replace(place, base=parent(file))
        return self._extended(name, services, file, there, chain=chain)

    def _services_of(self, file: str, place: _Place) -> Mapping[str, Node]:
        """Return the services of another file, in long forms."""
        if (file, place.base) not in self._layers:
            merged: Node | None = None
            for layer in self._canonical(file, place):
                merged = merge(merged, layer, self._report) if merged is not None else layer
            self._layers[file, place.base] = merged if isinstance(merged, Map) else Map(at=self.documents(file)[0].at)
        services = self._layers[file, place.base].entries.get("services")
        return services.entries if isinstance(services, Map) else {}

    # --- include ---------------------------------------------------------------------------------------------------

    def _include(self, root: Map, entry: Node, place: _Place, *, path: str, chain: tuple[str, ...]) -> Map:
        """Return the tree with another project's resources added; names that both have must mean the same."""
        paths = _texts(entry.entries.get("path")) if isinstance(entry, Map) else ()
        if not isinstance(entry, Map) or not paths:
            self._report.error(issue_at(entry, path, "this names no file"))
            return root
        for file in paths:
            if is_remote(file) or self._reader.read(file) is None:
                self._report.error(issue_at(entry, path, f"there is no file {file}"))
                return root
        if set(paths) & set(chain):
            shown = " -> ".join(posixpath.basename(item) for item in (*chain, paths[0]))
            self._report.error(issue_at(entry, path, f"files include each other in a circle: {shown}"))
            return root
        base = next(iter(_texts(entry.entries.get("project_directory"))), parent(paths[0]))
        named = _texts(entry.entries.get("env_file"))
        env_paths = list(named) or [posixpath.join(base, ".env")]
        variables = _layer_variables(env_paths, self._reader, place.variables, required=bool(named))
        inner = self.assemble(paths, _Place(base=base, variables=variables), chain=chain)
        return self._adopt(root, inner)

    def _adopt(self, root: Map, inner: Map) -> Map:
        entries = dict(root.entries)
        for section in SECTIONS:
            added = inner.entries.get(section)
            if not isinstance(added, Map):
                continue
            own = entries.get(section)
            known = own.entries if isinstance(own, Map) else {}
            for name, node in added.entries.items():
                if name in known and plain(known[name]) != plain(node):
                    other = known[name].at
                    text = f"{other.file}:{other.line} has something else under this name"
                    self._report.error(Issue(text=text, path=f"{section}.{name}", file=node.at.file, line=node.at.line))
            entries[section] = Map(entries={**added.entries, **known}, at=own.at if own is not None else added.at)
        return replace(root, entries=entries)


def _texts(node: Node | None) -> tuple[str, ...]:
    if isinstance(node, Scalar) and node.value is not None:
        return (scalar_text(node),)
    if isinstance(node, List):
        return tuple(scalar_text(item) for item in node.items if isinstance(item, Scalar))
    return ()

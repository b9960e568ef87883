"""From the tree of a project to frozen values: ``load_project``. Files come from a ``FileReader``; all else is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from carboy.compose.document.dotenv import parse_dotenv, parse_raw_env
from carboy.compose.document.files import FileReader
from carboy.compose.document.load import SECTIONS, LoadedTree, LoadRequest, load_tree
from carboy.compose.document.paths import SERVICE
from carboy.compose.errors import ComposeError, Report
from carboy.compose.fields import Fields
from carboy.compose.model import DEFAULT_NETWORK, Attachment, Dependency, Material, Network, Project, Service, Volume
from carboy.compose.service import parse_links, parse_service

_DRIVERS = ("bridge", "local", "default", "")


def load_project(request: LoadRequest, reader: FileReader) -> Project:
    """Return the project that a request names.

    Raises ``ComposeError`` with every error of all files at once; unknown keys and the like are in ``Project.warnings``.
    """
    report = Report()
    loaded = load_tree(request, reader, report)
    root = Fields(loaded.root, "", report)
    for key in ("name", "version", *SECTIONS):
        root.take(key)
    root.finish(refused={"models": "start a model server as a service"})
    services = tuple(_service(name, fields, loaded, reader) for name, fields in root.table("services"))
    if not services:
        root.error("services", "the project has no services")
    services = _link(root, services)
    project = Project(
        name=loaded.name,
        directory=loaded.directory,
        files=loaded.files,
        services=services,
        networks=_networks(root, loaded.name, services),
        volumes=_volumes(root, loaded.name),
        secrets=_materials(root, "secrets", loaded.variables),
        configs=_materials(root, "configs", loaded.variables),
        profiles=loaded.profiles,
    )
    _check_references(root, project)
    report.check()
    return replace(project, warnings=tuple(report.warnings))


def _service(name: str, fields: Fields, loaded: LoadedTree, reader: FileReader) -> Service:
    service = parse_service(name, fields, variables=loaded.variables)
    added, problems = _read_env_files(fields, reader, loaded.variables)
    own = dict(service.environment)
    # A name that the service takes from an empty environment still counts as unset: the file's value stands.
    environment = {**added, **own}
    return replace(service, environment=tuple(environment.items()), problems=problems)


def _read_env_files(
    fields: Fields, reader: FileReader, variables: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    found: dict[str, str] = {}
    problems = []
    for entry in fields.maps("env_file"):
        path, required = entry.text("path"), entry.switch("required", default=True)
        form = entry.choice("format", ("raw",))
        entry.finish()
        try:
            data = reader.read(path)
            if data is not None:
                # Earlier files' variables can be used by later ones; the environment wins in the text, not in the result.
                seen = {**found, **variables}
                found |= parse_raw_env(data, file=path) if form else parse_dotenv(data, file=path, environment=seen)
            elif required:
                problems.append(f"the env_file {path} does not exist")
        except ComposeError as error:
            for issue in error.issues:
                entry.report.error(replace(issue, path=entry.path))
    return found, tuple(problems)


def _link(root: Fields, services: tuple[Service, ...]) -> tuple[Service, ...]:
    """Return the services with ``links`` as what they are today: a dependency, and a further name on common networks."""
    by_name = {service.name: service for service in services}
    for name, fields in root.table("services"):
        for target, alias in parse_links(fields):
            if target not in by_name:
                fields.error("links", f"there is no service {target}")
                continue
            own = by_name[name]
            if all(dependency.service != target for dependency in own.depends_on):
                by_name[name] = replace(own, depends_on=(*own.depends_on, Dependency(service=target)))
            if alias and alias != target:
                shared = {attachment.network for attachment in own.networks}
                linked = by_name[target]
                networks = tuple(
                    _with_alias(item, alias) if item.network in shared else item for item in linked.networks
                )
                by_name[target] = replace(linked, networks=networks)
    return tuple(by_name.values())


def _with_alias(attachment: Attachment, alias: str) -> Attachment:
    if alias in attachment.aliases:
        return attachment
    return replace(attachment, aliases=(*attachment.aliases, alias))


def _external(fields: Fields, key: str, project: str) -> tuple[bool, str]:
    """Return whether a resource is somebody else's, and the name that the engine knows it by."""
    name = fields.text("name")
    if fields.node is not None and "external" in fields:
        inner = fields.take("external")
        if inner is not None and hasattr(inner, "entries"):
            return True, fields.fields("external").text("name", name or key)
        if fields.switch("external"):
            return True, name or key
    fields.take("external")
    return False, name or f"{project}_{key}"


def _networks(root: Fields, project: str, services: tuple[Service, ...]) -> tuple[Network, ...]:
    found = {}
    for key, fields in root.table("networks"):
        external, name = _external(fields, key, project)
        driver = fields.text("driver")
        if driver not in _DRIVERS:
            fields.error("driver", f"carboy does not support the driver {driver!r}: leave it out")
        ipam = fields.fields("ipam")
        ipam.choice("driver", ("default",))
        ranges = ipam.maps("config")
        subnets = tuple(entry.text("subnet") for entry in ranges)
        gateways = tuple(entry.text("gateway") for entry in ranges)
        for entry in ranges:
            entry.finish(ignored=dict.fromkeys(("ip_range", "aux_addresses"), "addresses come from the subnet"))
        ipam.finish(ignored={"options": "there is one way to give addresses"})
        found[key] = Network(
            key=key,
            name=name,
            external=external,
            internal=fields.switch("internal"),
            driver=driver,
            driver_options=fields.valued("driver_opts"),
            subnets=tuple(text for text in subnets if text),
            gateways=tuple(text for text in gateways if text),
            enable_ipv6=fields.switch("enable_ipv6") if "enable_ipv6" in fields else None,
            labels=fields.valued("labels"),
        )
        fields.take("enable_ipv6")
        fields.finish(ignored=dict.fromkeys(("attachable", "enable_ipv4"), "every network has it"))
    used = {attachment.network for service in services for attachment in service.networks}
    if DEFAULT_NETWORK in used and DEFAULT_NETWORK not in found:
        found[DEFAULT_NETWORK] = Network(key=DEFAULT_NETWORK, name=f"{project}_{DEFAULT_NETWORK}")
    return tuple(found.values())


def _volumes(root: Fields, project: str) -> tuple[Volume, ...]:
    found = []
    for key, fields in root.table("volumes"):
        external, name = _external(fields, key, project)
        driver = fields.text("driver")
        if driver not in _DRIVERS:
            fields.error("driver", f"carboy does not support the driver {driver!r}: leave it out, or mount a folder")
        options = fields.valued("driver_opts")
        if options:
            fields.error("driver_opts", "carboy does not support this: mount the folder itself with type: bind")
        found.append(Volume(key=key, name=name, external=external, driver=driver, labels=fields.valued("labels")))
        fields.finish()
    return tuple(found)


def _materials(root: Fields, section: str, variables: Mapping[str, str]) -> tuple[Material, ...]:
    """Return the secrets or configs of the project."""
    found = []
    for key, fields in root.table(section):
        file, variable = fields.text("file"), fields.text("environment")
        content = fields.text("content") if "content" in fields and section == "configs" else None
        if section == "configs":
            fields.take("content")
        given = [name for name, value in (("file", file), ("environment", variable)) if value]
        given += ["content"] if content is not None else []
        external = _external(fields, key, "")[0]
        if external:
            fields.error("external", "carboy keeps no secrets or configs of its own: name a file or a variable")
        elif len(given) != 1:
            ways = "file, environment or content" if section == "configs" else "file or environment"
            fields.error("", f"it needs one of {ways}, and has {' and '.join(given) or 'none'}")
        fields.take("labels")
        refused = dict.fromkeys(("driver", "driver_opts", "template_driver"), "name a file or a variable")
        fields.finish(refused=refused)
        value = variables.get(variable) if variable else None
        found.append(Material(key=key, file=file, environment=variable, content=content, value=value))
    return tuple(found)


def _check_references(root: Fields, project: Project) -> None:
    """Report names that nothing in the project has."""
    networks = {item.key for item in project.networks}
    volumes = {item.key for item in project.volumes}
    known = {"secrets": {item.key for item in project.secrets}, "configs": {item.key for item in project.configs}}
    names = {service.name for service in project.services}
    for key, fields in root.table("services"):
        service = project.service(key)
        for attachment in service.networks:
            if attachment.network not in networks:
                fields.error("networks", f"there is no network {attachment.network}: declare it under networks")
        for mount in service.mounts:
            if mount.kind == "volume" and mount.source and mount.source not in volumes:
                fields.error(
                    "volumes", f"there is no volume {mount.source}: declare it under volumes, or write ./ before a path"
                )
        for section, keys in known.items():
            for grant in service.secrets if section == "secrets" else service.configs:
                if grant.source not in keys:
                    fields.error(section, f"there is no {section[:-1]} {grant.source}: declare it under {section}")
        _check_build(fields.fields("build"), service, names=names, secrets=known["secrets"])
        for dependency in service.depends_on:
            if dependency.service not in names and dependency.required:
                fields.error("depends_on", f"there is no service {dependency.service}")
            elif dependency.service == service.name:
                fields.error("depends_on", "the service depends on itself")


def _check_build(fields: Fields, service: Service, *, names: set[str], secrets: set[str]) -> None:
    """Report names in a build that nothing in the project has."""
    if service.build is None:
        return
    for secret in service.build.secrets:
        if secret.source not in secrets:
            fields.error("secrets", f"there is no secret {secret.source}: declare it under secrets")
    for name, value in service.build.additional_contexts:
        wanted = value.removeprefix(SERVICE)
        if not value:
            fields.error("additional_contexts", f"{name} has no value")
        elif value != wanted and (wanted not in names or wanted == service.name):
            fields.error("additional_contexts", f"{name}: there is no other service {wanted}")

"""``build`` of a service: pure. Which of it a build here can do is for whoever builds to say; most is a Dockerfile's only.

Source: compose-spec, build.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from carboy.compose.document.paths import is_remote
from carboy.compose.fields import Fields
from carboy.compose.model import Build, BuildSecret
from carboy.compose.resources import parse_ulimits
from carboy.dockerfile.errors import LanguageError

_REFUSED = {"privileged": "write entitlements: [security.insecure], and privileged steps as RUN --security=insecure"}
_IGNORED = {
    "isolation": "it is for Windows",
    "provenance": "images of a project have none: `carboy build --provenance` writes it",
    "sbom": "images of a project have none: `carboy build --sbom` writes it",
}


def parse_build(fields: Fields, variables: Mapping[str, str]) -> Build:
    """Return the ``build`` of a service; what is wrong is reported through ``fields``."""
    build = fields.fields("build")
    context = build.text("context")
    _check_context(build, context)
    dockerfile, inline = build.text("dockerfile"), build.text("dockerfile_inline")
    if dockerfile and inline:
        build.error("dockerfile_inline", "dockerfile is given as well")
    made = Build(
        context=context,
        dockerfile=dockerfile,
        dockerfile_inline=inline,
        args=tuple((name, variables.get(name) if value is None else value) for name, value in build.pairs("args")),
        target=build.text("target"),
        labels=build.valued("labels"),
        tags=build.strings("tags"),
        network=build.text("network"),
        no_cache=build.switch("no_cache"),
        no_cache_filter=build.strings("no_cache_filter"),
        pull=build.switch("pull"),
        platforms=build.strings("platforms"),
        secrets=_secrets(build),
        ssh=build.valued("ssh"),
        additional_contexts=build.valued("additional_contexts"),
        entitlements=build.strings("entitlements"),
        extra_hosts=build.strings("extra_hosts"),
        shm_size_bytes=build.size("shm_size"),
        ulimits=parse_ulimits(build),
        cache_from=build.strings("cache_from"),
        cache_to=build.strings("cache_to"),
    )
    build.finish(refused=_REFUSED, ignored=_IGNORED)
    return made


def _check_context(build: Fields, context: str) -> None:
    from carboy.build.dockerfile.git import parse_git_address

    if not is_remote(context):
        return
    try:
        is_there = parse_git_address(context) is not None or context.startswith(("http://", "https://"))
    except LanguageError as error:
        build.error("context", error.message)
        return
    if not is_there:
        build.error("context", "this is neither a folder nor the address of a git repository or an archive")


def _secrets(build: Fields) -> tuple[BuildSecret, ...]:
    """Return the secrets; whose file it is and its mode are said where the Dockerfile mounts it."""
    found = []
    for grant in build.maps("secrets"):
        source = grant.text("source")
        if not source:
            grant.error("", "it has no source")
            continue
        found.append(BuildSecret(source=source, id=grant.text("target", source)))
        grant.finish(ignored=dict.fromkeys(("uid", "gid", "mode"), "say it in RUN --mount=type=secret"))
    return tuple(found)

"""``environment.yml``: what conda's own tools read, to values. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.environments.conda.channels import DEFAULT, name_channel
from carboy.environments.conda.document import Value, parse_document
from carboy.environments.conda.wants import CondaWants
from carboy.environments.detect.requirements import parse_requirements
from carboy.environments.detect.wants import Wants
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NONE = ("", "~", "null")


def parse_environment(file: str, texts: Mapping[str, str]) -> CondaWants:
    """Return what an ``environment.yml`` asks for; ``texts`` has it, and files that its pip section includes.

    Its name and prefix mean nothing in an image. Raises ``CarboyError`` with the file and what to do.
    """
    value = parse_document(texts[file], file=file)
    channels = [name_channel(item, where=file) for item in _texts(value.get("channels", ""), file, "channels")]
    specs: list[str] = []
    pip: list[str] = []
    dependencies = value.get("dependencies", "")
    for item in dependencies if isinstance(dependencies, list) else _texts(dependencies, file, "dependencies"):
        if isinstance(item, str):
            specs.append(item.strip())
        elif isinstance(item, dict) and set(item) == {"pip"}:
            pip += _texts(item["pip"], file, "pip")
        else:
            raise CarboyError(f"{file}: a dependency is neither a text nor pip's list", hint="write - name=version")
    return CondaWants(
        file=file,
        source=file,
        channels=tuple(dict.fromkeys(name for name in channels if name != "nodefaults")) or (DEFAULT,),
        specs=tuple(dict.fromkeys(filter(None, specs))),
        pip=_pip(file, pip, texts),
        variables=_variables(value.get("variables", ""), file),
    )


def _texts(value: Value, file: str, key: str) -> list[str]:
    if isinstance(value, str) and value in _NONE:
        return []
    found = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(found) != len(value):
        raise CarboyError(f"{file}: {key} is no list of texts", hint=f"write each of {key} as - TEXT")
    return found


def _pip(file: str, lines: list[str], texts: Mapping[str, str]) -> Wants | None:
    if not lines:
        return None
    parsed = parse_requirements(file, {**texts, file: "".join(f"{line}\n" for line in lines)})
    if parsed.itself:
        raise CarboyError(
            f"{file}: pip is to install the folder itself", hint="remove that line: the folder is in the image as it is"
        )
    requirements = "".join(f"{line}\n" for line in parsed.lines)
    constraints = "".join(f"{line}\n" for line in parsed.constraints)
    return Wants(requirements=requirements, constraints=constraints, file=file, source=f"{file}, pip")


def _variables(value: Value, file: str) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str) and value in _NONE:
        return ()
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise CarboyError(f"{file}: variables is no mapping of texts", hint="write each as NAME: TEXT")
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise CarboyError(f"{file}: {name[:60]!r} is no name of a variable", hint="use letters, digits and _")
    return tuple((name, str(text)) for name, text in value.items())

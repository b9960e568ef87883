"""What ``config`` prints means what the files meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from carboy.compose.describe import describe_project
from carboy.compose.document.emit import render_yaml
from carboy.compose.document.files import DiskReader, MemoryReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.errors import ComposeError
from carboy.compose.model import Project
from carboy.compose.parse import load_project
from carboy.compose.planning.container import config_hash, service_container

PROJECTS = Path(__file__).resolve().parents[2] / "projects" / "compose"


def again(project: Project, environment: dict[str, str], *, as_json: bool) -> Project:
    described = describe_project(project, project.services)
    text = json.dumps(described) if as_json else render_yaml(described)
    request = LoadRequest(cwd=project.directory, environment=environment, files=("/again.yaml",))
    request = replace(request, project_directory=project.directory, profiles=("*",))
    return load_project(request, MemoryReader({"/again.yaml": text}))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", sorted(path.name for path in PROJECTS.iterdir()))
def test_it_can_be_read_again(name: str, as_json: bool) -> None:
    environment = {"APP_TOKEN": "geheim", "HOME": "/h"}
    try:
        project = load_project(
            LoadRequest(cwd=str(PROJECTS / name), environment=environment, profiles=("*",)), DiskReader()
        )
    except ComposeError:
        pytest.skip("a project that is meant to be wrong")
    other = again(project, environment, as_json=as_json)
    assert [service.name for service in other.services] == [service.name for service in project.services]
    for service in project.services:
        before = service_container(project, service, 1)
        after = service_container(other, other.service(service.name), 1)
        assert replace(after, label=(), config_hash="") == replace(before, label=(), config_hash="")
        assert config_hash(after) == config_hash(before)
        assert other.service(service.name).depends_on == service.depends_on
    assert "geheim" not in render_yaml(describe_project(project, project.services))

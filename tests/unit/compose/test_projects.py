"""Whole compose files, as people write them, against what they came to: ``tests/projects/compose/*/expected.json``.

After a wanted change: ``CARBOY_UPDATE_EXPECTED=1 pytest tests/unit/compose/test_projects.py``, and read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from carboy.compose.document.files import DiskReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.model import Project
from carboy.compose.parse import load_project
from carboy.compose.planning.container import ServiceContainer, service_container
from carboy.compose.planning.images import UpOptions, plan_images
from carboy.compose.planning.plan import plan_up
from carboy.compose.planning.state import Existing

PROJECTS = Path(__file__).resolve().parents[2] / "projects" / "compose"
ENVIRONMENT = {"HOME": "/home/ada", "APP_TOKEN": "t0ken", "GIT_COMMIT": "abc123"}
OPTIONS = {"profiles": ("observe",)}
EXISTING = Existing(volumes=("lab-cache",), images=(("legacy", "sha256:1"),))


def load(name: str) -> Project:
    request = LoadRequest(cwd=str(PROJECTS / name), environment=ENVIRONMENT, profiles=OPTIONS.get(name, ("",)))
    return load_project(request, DiskReader())


def summarize(project: Project) -> dict[str, Any]:
    default = {item.name: item.default for item in fields(ServiceContainer)}
    containers = {}
    for service in project.services:
        container = service_container(project, service, 1)
        values = {name: value for name, value in asdict(container).items() if value != default[name]}
        values["label"] = [text for text in values["label"] if not text.startswith(("com.docker.", "carboy."))]
        del values["config_hash"]
        containers[service.name] = (
            values if values["label"] else {name: values[name] for name in values if name != "label"}
        )
    found = {
        "name": project.name,
        "files": project.files,
        "warnings": [str(issue) for issue in project.warnings],
        "containers": containers,
        "volumes": [asdict(volume) for volume in project.volumes],
        "networks": [asdict(network) for network in project.networks],
        "builds": {service.name: asdict(service.build) for service in project.services if service.build},
        "images": plan_images(project, EXISTING, UpOptions()).describe(),
        "up": [[step.what for step in level] for level in plan_up(project, EXISTING, UpOptions()).levels],
    }
    text = json.dumps(found, indent=1).replace(str(PROJECTS / project.directory), "/projects")
    result: dict[str, Any] = json.loads(text.replace(str(PROJECTS), "/projects"))
    return result


@pytest.mark.parametrize("name", sorted(path.name for path in PROJECTS.iterdir()))
def test_project(name: str) -> None:
    found = summarize(load(name))
    expected = PROJECTS / name / "expected.json"
    if os.environ.get("CARBOY_UPDATE_EXPECTED"):
        expected.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(expected.read_text())


def test_the_hash_of_a_container_is_stable() -> None:
    project = load("web")
    first = service_container(project, project.service("worker"), 1)
    assert first.config_hash == service_container(load("web"), project.service("worker"), 2).config_hash
    # A change here makes every container of every project anew once: it must be on purpose.
    redis = service_container(project, project.service("redis"), 1)
    assert redis.config_hash.startswith("bf8a1cc4bb3fbcca"), redis.config_hash

"""Containers for data science.

>>> import carboy
>>> with carboy.run("iris:1", ["python", "train.py"], volumes={"./data": "/data:ro"}, memory="2g") as container:
...     status = container.wait()
...     print(container.logs())

``run`` returns a :class:`Container`; ``Image.build`` makes an image of a folder, ``Volume.create`` a folder that outlives
containers; ``task`` and ``map`` run a Python function in containers, over many inputs at once. Names are loaded when they are
first used: the command line imports this package at every start.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.container import Change, Container, Result, get, ps, run
    from carboy.client.images import Image
    from carboy.client.tasks.task import Task, TaskError, map, task
    from carboy.client.volumes import Volume
    from carboy.errors import CarboyError

__all__ = [
    "CarboyError", "Change", "Container", "Image", "Result", "Task", "TaskError", "Volume", "get", "map", "ps", "run", "task",
]  # fmt: skip

_PLACES = {
    "CarboyError": "carboy.errors",
    "Change": "carboy.client.container",
    "Container": "carboy.client.container",
    "Image": "carboy.client.images",
    "Result": "carboy.client.container",
    "get": "carboy.client.container",
    "Task": "carboy.client.tasks.task",
    "TaskError": "carboy.client.tasks.task",
    "Volume": "carboy.client.volumes",
    "map": "carboy.client.tasks.task",
    "ps": "carboy.client.container",
    "run": "carboy.client.container",
    "task": "carboy.client.tasks.task",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'carboy' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(place), name)
    globals()[name] = value
    return value

"""``import carboy``, as a notebook uses it: in a process with threads, in every tier."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]

LIFE = """
import json, threading, carboy
threading.Thread(target=threading.Event().wait, daemon=True).start()   # as Jupyter has some
seen = {}
command = ["sh", "-c", "echo out; echo err >&2; sleep 30"]
with carboy.run("small:test", command, name="from-python", env={"A": "b c"}, labels={"team": "x"}) as container:
    seen["status"] = container.status
    seen["name"] = container.name
    seen["listed"] = [c.id for c in carboy.ps()].count(container.id) == 1
    seen["env"] = container.exec("sh -c 'echo $A'").text
    seen["input"] = container.exec(["cat"], input=b"hello").text
    seen["failed"] = container.exec(["sh", "-c", "exit 9"]).exit_code
    try:
        container.exec("no-such-program")
    except carboy.CarboyError as error:
        seen["missing"] = error.code
    container.stop(timeout_s=20)
    seen["ended"] = container.wait()
    seen["logs"] = sorted(container.logs().split())
    seen["again"] = carboy.get("from-python").status
try:
    container.reload()
except carboy.CarboyError as error:
    seen["gone"] = error.brief.startswith("there is no container")
try:
    carboy.run("small:tests", ["true"])
except carboy.CarboyError as error:
    seen["hint"] = error.hint
quick = carboy.run("small:test", "echo 'one word'")
quick.wait()
seen["follow"] = [line.decode() for line in quick.follow()]
quick.remove()
print(json.dumps(seen))
"""

TASKS = '''
import json, pathlib, sys, carboy

FACTOR = 3

@carboy.task(image="iris:test", memory=None)
def work(x, *, y=1):
    """Its docstring."""
    print("at work on", x)
    if x == 13:
        raise ValueError("unlucky", x)
    return {"value": x * FACTOR + y, "pair": (1, 2)}

@carboy.task(image="iris:test", files=sys.argv[1])
def numbers(array, path):
    import numpy as np, sklearn
    target = pathlib.Path("/tmp/answer.txt")
    target.write_text(path.read_text().upper())
    return array * 2, target, float(np.mean(array)), sklearn.__version__

class Special(Exception):
    pass

@carboy.task(image="iris:test")
def special():
    class Special(Exception):
        pass
    raise Special("so special")

@carboy.task(image="iris:test")
def dies():
    import os
    os._exit(7)

seen = {"doc": work.__doc__, "local": work.local(1), "one": work(2, y=5)}
seen["pair"] = type(work(2)["pair"]).__name__
try:
    work(13)
except ValueError as error:
    seen["raised"] = [list(error.args), "In the container" in error.__notes__[0], "at work on 13" in sys.argv]
seen["map"] = [answer["value"] for answer in work.map(range(6), workers=2)]
seen["fresh"] = [answer["value"] for answer in carboy.map(work, [1, 2], fresh=True)]
got = []
try:
    for answer in work.map([1, 13, 2], workers=2):
        got.append(answer["value"])
except ValueError:
    seen["partial"] = got
for function in (special, dies):
    try:
        function()
    except carboy.TaskError as error:
        seen[function.__name__] = [error.type_name, error.brief]
source = pathlib.Path(sys.argv[1]) / "question.txt"
source.write_text("hello")
try:
    import numpy
    array, path, mean, version = numbers(numpy.arange(4), source)
    seen["numpy"] = [array.tolist(), path.read_text(), path.parent == source.parent, mean]
except ImportError:
    pass
print(json.dumps(seen))
'''


def python(runner: Carboy, text: str, *arguments: str) -> dict[str, object]:
    """Run a program of the API's under the interpreter that carboy is installed for."""
    done = runner.python(text, *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_life_of_a_container(small_carboy: Carboy) -> None:
    before = small_carboy("ps", "-aq").stdout
    seen = python(small_carboy, LIFE)
    assert seen == {
        "status": "running", "name": "from-python", "listed": True, "env": "b c\n", "input": "hello", "failed": 9,
        "missing": 127, "ended": 143, "logs": ["err", "out"], "again": "exited", "gone": True,
        "hint": "did you mean small:test?", "follow": ["one word\n"],
    }  # fmt: skip
    assert small_carboy("ps", "-aq").stdout == before


def test_tasks(shared_carboy: Carboy, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("files")
    file = folder / "tasks.py"  # a function's source is read from its file
    file.write_text(TASKS)
    seen = python(shared_carboy, f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')", str(folder))
    assert seen["doc"] == "Its docstring."
    assert seen["local"] == {"value": 4, "pair": [1, 2]}
    assert seen["one"] == {"value": 11, "pair": [1, 2]}
    assert seen["pair"] == "tuple"
    assert seen["raised"] == [["unlucky", 13], True, False]
    assert seen["map"] == [1, 4, 7, 10, 13, 16]
    assert seen["fresh"] == [4, 7]
    assert seen["partial"] == [4]
    assert seen["special"] == [
        "carboy_task.special.<locals>.Special",
        "carboy_task.special.<locals>.Special: so special",
    ]
    assert seen["dies"] == ["ContainerEnded", "ContainerEnded: the container ended (exit status 7)"]


def test_the_public_names_are_there() -> None:
    import carboy

    assert sorted(carboy.__all__) == sorted(name for name in carboy.__all__ if getattr(carboy, name) is not None)

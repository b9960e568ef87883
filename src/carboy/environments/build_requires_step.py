"""Runs inside the sandbox, by the image's own Python: asks source distributions what they are built with (PEP 517, 518).

    build_requires_step.py SDISTS UV

For each file in SDISTS, in order, ``pylock.bN.toml`` in the working folder gets what an isolated build of it installs: what its
pyproject.toml names, and what its backend asks for then. The code of the package runs for that, here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib

DEFAULT: dict[str, list[str] | str] = {
    "requires": ["setuptools >= 40.8.0"],
    "build-backend": "setuptools.build_meta:__legacy__",
}
_HOOK = """
import importlib, json, os, sys
backend, paths, out = json.loads(sys.argv[1])
sys.path[:0] = [os.path.abspath(path) for path in paths]
module, _, attribute = backend.partition(":")
found = importlib.import_module(module)
for name in filter(None, attribute.split(".")):
    found = getattr(found, name)
ask = getattr(found, "get_requires_for_build_wheel", None)
with open(out, "w") as file:
    json.dump(list(ask()) if ask else [], file)
"""


def read_build_system(folder: str) -> dict[str, list[str] | str]:
    """Return the table ``build-system`` of a project's folder, or what stands for one that it has not."""
    path = os.path.join(folder, "pyproject.toml")
    if not os.path.exists(path):
        return dict(DEFAULT)
    with open(path, "rb") as file:
        table = tomllib.load(file).get("build-system", {})
    return {**DEFAULT, **table}


def unpack(path: str) -> str:
    """Unpack a source distribution and return the folder of the project in it."""
    place = tempfile.mkdtemp()
    shutil.unpack_archive(path, place)
    names = os.listdir(place)
    return os.path.join(place, names[0]) if len(names) == 1 else place


def ask(uv: str, project: str) -> list[str]:
    """Return all that building a project needs, its dependencies' own aside."""
    system = read_build_system(project)
    requires = list(system["requires"])
    place = tempfile.mkdtemp()
    lines, venv, out = place + "/requires.txt", place + "/venv", place + "/out.json"
    with open(lines, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in requires)
    subprocess.check_call([uv, "venv", venv, "--python", sys.executable, "--no-project", "--quiet"])
    subprocess.check_call([uv, "pip", "install", "--python", venv + "/bin/python", "--quiet", "-r", lines])
    words = json.dumps([system["build-backend"], system.get("backend-path", []), out])
    subprocess.check_call([venv + "/bin/python", "-c", _HOOK, words], cwd=project, stdout=subprocess.DEVNULL)
    with open(out, encoding="utf-8") as file:
        return [*requires, *json.load(file)]


def main() -> None:
    """Ask each of them, and lock what it asks for."""
    folder, uv = sys.argv[1:]
    for number, name in enumerate(sorted(os.listdir(folder))):
        with open(f"b{number}.txt", "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in ask(uv, unpack(os.path.join(folder, name))))
        command = [
            uv,
            "pip",
            "compile",
            f"b{number}.txt",
            "--format",
            "pylock.toml",
            "--generate-hashes",
            "--no-header",
        ]
        command += ["--no-annotate", "--quiet", "--python", sys.executable, "--output-file", f"pylock.b{number}.toml"]
        subprocess.check_call(command, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

"""Runs inside the sandbox, by the image's own Python: reads how source distributions are built.

For each archive in ``sources``, the folder ``out`` gets ``NAME.toml``, its pyproject.toml, empty where it has none. None of the
package's code runs for that.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile


def read_project(archive: str) -> bytes:
    """Return the pyproject.toml of a source distribution."""
    place = tempfile.mkdtemp()
    shutil.unpack_archive(archive, place)
    names = os.listdir(place)
    top = os.path.join(place, names[0]) if len(names) == 1 else place
    path = os.path.join(top, "pyproject.toml")
    if not os.path.exists(path):
        if not any(os.path.exists(os.path.join(top, name)) for name in ("setup.py", "setup.cfg")):
            sys.exit("it has no pyproject.toml and no setup.py")
        return b""
    with open(path, "rb") as file:
        return file.read()


def main() -> None:
    """Read each of them."""
    os.makedirs("out")
    for name in sorted(os.listdir("sources")):
        try:
            text = read_project(os.path.join("sources", name))
        except (OSError, ValueError, EOFError, shutil.ReadError) as error:
            sys.exit(f"Failed to read the source {name}: {error}")
        with open(os.path.join("out", f"{name}.toml"), "wb") as file:
            file.write(text)


if __name__ == "__main__":
    main()

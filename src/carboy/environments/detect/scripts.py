"""What scripts import, for a folder that says nothing else: an offer for a requirements file, never a guess that is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# Modules whose package has another name. The rest are called as they are imported, with - for _.
PACKAGES = {
    "Bio": "biopython", "Crypto": "pycryptodome", "IPython": "ipython", "MySQLdb": "mysqlclient", "OpenSSL": "pyopenssl",
    "PIL": "pillow", "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless", "dateutil": "python-dateutil",
    "docx": "python-docx", "dotenv": "python-dotenv", "fitz": "pymupdf", "git": "gitpython", "jose": "python-jose",
    "jwt": "pyjwt", "magic": "python-magic", "mpl_toolkits": "matplotlib", "pkg_resources": "setuptools", "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary", "serial": "pyserial", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "slugify": "python-slugify", "telegram": "python-telegram-bot", "umap": "umap-learn", "usb": "pyusb", "yaml": "pyyaml",
    "zmq": "pyzmq",
}  # fmt: skip


def find_imports(text: str) -> set[str]:
    """Return the modules that a script imports whenever it runs, by their first name; an import that may fail is left out."""
    import ast

    def walk(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.partition(".")[0]
            elif isinstance(node, ast.With | ast.For | ast.While):
                yield from walk(node.body)

    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # Python will say so when it runs
    return set(walk(tree.body))


def find_packages(scripts: Mapping[str, str], *, local: Collection[str]) -> tuple[str, ...]:
    """Return the packages that scripts import and that neither Python nor the folder (``local`` names) has."""
    modules = {module for text in scripts.values() for module in find_imports(text)}
    foreign = modules - set(sys.stdlib_module_names) - set(local) - {"__future__"}
    return tuple(sorted({PACKAGES.get(module, module.replace("_", "-")) for module in foreign}))


def read_notebook(text: str) -> str:
    """Return the code of a notebook as one script, without IPython's own lines; "" for what is no notebook."""
    try:
        value: Any = json.loads(text)
        cells = [cell for cell in value["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return ""
    lines = (line for source in sources for line in source.splitlines())
    return "".join(f"{line}\n" for line in lines if not line.lstrip().startswith(("%", "!", "?")))

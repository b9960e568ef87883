"""Runs inside the sandbox, by the image's own Python: compiles an environment's modules to the same bytes every time.

What `marshal` writes depends on the reference counts of shared constants, thus on what a process did before. So each
top-level package is compiled by a process of its own, forked from one state, its files in order; hash-based files that are never
checked (PEP 552) hold no time and cost no stat at import. PYTHONHASHSEED is set by the caller: it orders constant sets.
"""

import importlib.util
import os
import py_compile
import sys


def compile_unit(folder: str, name: str) -> None:
    """Compile one module, or all modules below one package, in order."""
    path = os.path.join(folder, name)
    files = [path] if name.endswith(".py") else []
    for above, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        files += [os.path.join(above, n) for n in sorted(names) if n.endswith(".py")]
    for file in files:
        try:
            py_compile.compile(
                file,
                cfile=importlib.util.cache_from_source(file),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, OSError):
            continue  # templates, and tests of syntax errors: importing them fails as it would anywhere


def main() -> None:
    """Compile every unit of the folder named by the first argument, as many at once as there are processors."""
    folder = sys.argv[1]
    units = sorted(n for n in os.listdir(folder) if n != "__pycache__" and (n.endswith(".py") or "." not in n))
    running = 0
    failed = False
    for unit in units:
        if running >= len(os.sched_getaffinity(0)):
            failed |= os.wait()[1] != 0
            running -= 1
        if os.fork() == 0:
            compile_unit(folder, unit)
            os._exit(0)
        running += 1
    while running:
        failed |= os.wait()[1] != 0
        running -= 1
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

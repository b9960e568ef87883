#!/usr/bin/env python3
"""Write src/carboy/linux/filters anew: ``python3 scripts/filters.py``, after any change of the system call filter."""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


def main() -> None:
    """Assemble the filter for each machine with the capabilities that containers have by default."""
    sys.path.insert(0, str(SOURCE))
    from carboy.linux import seccomp
    from carboy.runtime.spec import RUN_CAPABILITIES

    folder = Path(seccomp.FILTERS)
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    profile = seccomp.read_profile()
    for arch in seccomp.AUDIT_ARCH:
        for emulate_root in (False, True):
            program = seccomp.compile_profile(profile, emulate_root=emulate_root, caps=RUN_CAPABILITIES, arch=arch)
            name = seccomp.name_filter(arch, caps=RUN_CAPABILITIES, emulate_root=emulate_root)
            (folder / name).write_bytes(program)


if __name__ == "__main__":
    main()

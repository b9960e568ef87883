"""A program of its own: chooses versions by py-rattler. A question is on its input, the answer on its output, both JSON.

Its library starts threads that stay, and carboy forks; what it reads was written by strangers. It imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

MISSING = 3
"""The exit status where py-rattler is not installed."""


def main() -> None:
    """Answer the question."""
    try:
        import rattler  # noqa: F401
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    question = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"packages": asyncio.run(solve(question))}
    except Exception as error:  # noqa: BLE001  its exceptions have no root of their own
        answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__}
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # its threads do not survive the end of the interpreter, which then ends by a signal at times


async def solve(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the packages that the question's specs come to."""
    from rattler import Channel, GenericVirtualPackage, MatchSpec, PackageName, Version
    from rattler.package.build_string import BuildString
    from rattler.repo_data.sparse import SparseRepoData
    from rattler.solver.solver import solve_with_sparse_repodata

    lists, names = [], {}
    for item in question["lists"]:
        channel = Channel(item["channel"])
        names[str(channel.base_url).rstrip("/")] = item["channel"]
        lists.append(SparseRepoData(channel, item["subdir"], item["path"]))
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
        for name, version, build in question["virtual"]
    ]
    records = await solve_with_sparse_repodata(
        [MatchSpec(spec, strict=False) for spec in question["specs"]],
        lists,
        virtual_packages=virtual,
        constraints=[MatchSpec(spec, strict=False) for spec in question["constraints"]],
    )
    return [
        {
            "channel": names[str(record.channel).rstrip("/")],
            "path": f"{record.subdir}/{record.file_name}",
            "sha256": record.sha256.hex() if record.sha256 else "",
            "size_bytes": record.size or 0,
            "record": {
                "depends": list(record.depends),
                "constrains": list(record.constrains),
                "build_number": record.build_number,
            },
        }
        for record in records
    ]


if __name__ == "__main__":
    main()

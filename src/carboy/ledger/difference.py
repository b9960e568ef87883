"""How two runs differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carboy.ledger.record import FileState, Mount, RunRecord, Tree
from carboy.oci.digest import Digest

NOTHING = "(none)"
HIDDEN = "(not kept)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs: ``kind`` is "image", "command", "seed", "env", "option", "input", "output" or the like.

    ``name`` says which one ("": there is only one); ``before`` and ``after`` are for people.
    """

    kind: str
    name: str
    before: str
    after: str


def compare_runs(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    """Return all that differs: what went in before what came out."""
    return (*compare_conditions(first, second), *compare_results(first, second))


def compare_conditions(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    """Return what went into two runs and differs: image, command, seed, variables, options, inputs."""
    found = [
        *_compare("image", "", show_digest(first.manifest), show_digest(second.manifest)),
        *_compare("command", "", " ".join(first.command), " ".join(second.command)),
        *_compare("seed", "", str(first.seed), str(second.seed)),
        *_compare("workdir", "", first.workdir, second.workdir),
        *_compare("platform", "", first.platform, second.platform),
    ]
    env = [{item.name: HIDDEN if item.value is None else item.value for item in run.env} for run in (first, second)]
    found += _compare_maps("env", env[0], env[1])
    found += _compare_maps("option", dict(first.settings), dict(second.settings))
    found += _compare_maps("secret", dict.fromkeys(first.secrets, "given"), dict.fromkeys(second.secrets, "given"))
    return (*found, *compare_inputs(first.mounts, second.mounts))


def compare_inputs(first: Sequence[Mount], second: Sequence[Mount]) -> tuple[Difference, ...]:
    """Return which mounted files differ: each by its path in the container, or whole mounts where no files are named."""
    before = {mount.target: mount for mount in first}
    after = {mount.target: mount for mount in second}
    found: list[Difference] = []
    for target in sorted(before.keys() | after.keys()):
        old, new = before.get(target), after.get(target)
        if old is None or new is None or old.tree is None or new.tree is None:
            found += _compare("input", target, _show_mount(old), _show_mount(new))
        else:
            found += compare_trees(target, old.tree, new.tree)
    return tuple(found)


def compare_trees(target: str, old: Tree, new: Tree) -> list[Difference]:
    """Return which files of one mount differ."""
    if old.digest == new.digest:
        return []
    if len(old.files) != old.count or len(new.files) != new.count:
        return _compare("input", target, _show_tree(old), _show_tree(new))
    return _compare_files("input", _below(target, old.files), _below(target, new.files))


def compare_results(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    """Return what came of two runs and differs: the exit status, and each output."""
    outputs = [{item.path: item.digest for item in run.outputs} for run in (first, second)]
    status = [NOTHING if run.exit_status is None else str(run.exit_status) for run in (first, second)]
    return (*_compare("exit status", "", *status), *_compare_files("output", outputs[0], outputs[1]))


def _below(target: str, files: Sequence[FileState]) -> dict[str, Digest | None]:
    return {target if item.path == "." else f"{target.rstrip('/')}/{item.path}": item.digest for item in files}


def _compare(kind: str, name: str, before: str, after: str) -> list[Difference]:
    return [] if before == after else [Difference(kind=kind, name=name, before=before, after=after)]


def _compare_maps(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    names = sorted(before.keys() | after.keys())
    return [
        item for name in names for item in _compare(kind, name, before.get(name, NOTHING), after.get(name, NOTHING))
    ]


def _compare_files(
    kind: str, before: Mapping[str, Digest | None], after: Mapping[str, Digest | None]
) -> list[Difference]:
    found = []
    for path in sorted(before.keys() | after.keys()):
        if path in before and path in after and before[path] == after[path]:
            continue
        texts = [show_digest(side[path]) if path in side else NOTHING for side in (before, after)]
        found.append(Difference(kind=kind, name=path, before=texts[0], after=texts[1]))
    return found


def show_digest(digest: Digest | None) -> str:
    """Return a digest for people: twelve digits are enough to tell two apart."""
    return "(not there)" if digest is None else digest.hex[:12]


def _show_tree(tree: Tree) -> str:
    return f"{tree.digest.hex[:12]} ({tree.count} files)"


def _show_mount(mount: Mount | None) -> str:
    if mount is None:
        return NOTHING
    return _show_tree(mount.tree) if mount.tree is not None else f"{mount.kind} {mount.source}".strip()

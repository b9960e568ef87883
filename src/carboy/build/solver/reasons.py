"""Why a step has to be done: what it was the last time that it was, remembered in the store's cache, against what it is now."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from carboy.build.graph.keys import describe_copy, describe_folder, describe_run
from carboy.build.graph.ops import Copy, MakeFolder, Run

if TYPE_CHECKING:
    from carboy.store.store import Store

NEW = "nothing with this text was done before"


def remember_step(
    store: Store, op: Run | Copy | MakeFolder, *, parent: tuple[str, ...], inputs: tuple[str, ...]
) -> None:
    """Keep what a step was that has just been made; no values are kept, only their hashes."""
    store.cache.put(_name(op), "step", _describe(op, parent, inputs), [])


def explain_step(store: Store, op: Run | Copy | MakeFolder, *, parent: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    """Return what is not as it was when the same text was last done."""
    entry = store.cache.get(_name(op))
    return NEW if entry is None else compare(entry.value, _describe(op, parent, inputs))


def compare(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what has changed between two descriptions of a step. Pure."""
    if before["inputs"] != now["inputs"]:
        return "files that it reads have changed"
    old, new = before["env"], now["env"]
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    if changed:
        return f"its environment has changed: {', '.join(changed)}"
    if before["definition"] != now["definition"]:
        return "its settings have changed (USER, WORKDIR, SHELL, or a variable in its text)"
    if before["parent"] != now["parent"]:
        return "what it stands on has changed"
    return "its layer is no longer in the store"


def _name(op: Run | Copy | MakeFolder) -> str:
    text = f"{op.location.file}\0{op.location.text}" if op.location is not None else op.title
    return f"last:{_hash(text)}"


def _describe(op: Run | Copy | MakeFolder, parent: tuple[str, ...], inputs: tuple[str, ...]) -> dict[str, Any]:
    env: dict[str, str] = {}
    if isinstance(op, Run):
        definition = describe_run(op)
        env = {name: _hash(value)[:16] for name, value in definition.pop("env").items()}
    elif isinstance(op, Copy):
        definition = describe_copy(op)
    else:
        definition = describe_folder(op)
    values: dict[str, object] = {"definition": definition, "parent": parent, "inputs": inputs}
    return {"env": env} | {key: _hash(json.dumps(value, sort_keys=True)) for key, value in values.items()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

"""YAML as people read it, from plain values: dictionaries, lists, texts, numbers, booleans."""

from __future__ import annotations

from typing import Any

import yaml


def render_yaml(value: Any) -> str:
    """Return a YAML 1.1 document; what a reader could take for something else than a text is quoted."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False, width=130)

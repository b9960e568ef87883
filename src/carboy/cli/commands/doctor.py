"""``carboy doctor``."""

from __future__ import annotations

import json
import os

from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.engine.doctor import examine

_MARK = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


def doctor(arguments: list[str]) -> int:
    """Print what this machine can do, what is missing, what that costs and how to get it."""
    parser = Parser("doctor [--json]", "Say what this machine can do, what is missing, and how to get it.")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(arguments)
    findings = examine(os.environ)
    if options.json:
        fields = ("name", "status", "detail", "hint")
        print(json.dumps([{name: getattr(f, name) for name in fields} for f in findings], indent=2))
    else:
        width = max(len(f.name) for f in findings)
        for f in findings:
            print(f"{_MARK[f.status]}  {f.name:<{width}}  {printable(f.detail)}")
            if f.hint:
                print(f"{'':<{width + 11}}-> {printable(f.hint)}")
    return 1 if any(f.status == "missing" and f.name == "tier" for f in findings) else 0

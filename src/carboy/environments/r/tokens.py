"""R's code as tokens, as far as it takes to see which packages it names: pure. Comments are left out, strings kept whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |[rR](?P<quote>["'])(?P<dashes>-*)(?P<open>[(\[{])
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<name>[A-Za-z.][A-Za-z0-9._]*|`[^`\n]*`)
    |(?P<mark>:::?|<<?-|->>?|[^\s])""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CHUNK = re.compile(r"^\s*```+\s*\{\s*[rR]\b[^}\n]*\}[^\n]*\n(.*?)^\s*```+\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is "name", "string" (``text`` without its quotes) or "mark"."""

    kind: str
    text: str


def iter_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of R's code; a string that nothing ends is a mark, and what follows it is read on."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return
        position = match.end()
        if match["open"]:
            end = _CLOSING[match["open"]] + match["dashes"] + match["quote"]
            found = text.find(end, position)
            if found >= 0:
                yield Token("string", text[position:found])
                position = found + len(end)
        elif match["string"]:
            yield Token("string", match["string"][1:-1])
        elif match["name"]:
            yield Token("name", match["name"].strip("`"))
        elif match["mark"]:
            yield Token("mark", match["mark"])


def read_code(name: str, text: str) -> str:
    """Return the R code of a file: a script, the chunks of an R Markdown or Quarto file, the cells of a notebook of R's."""
    if name.endswith(".ipynb"):
        return _read_notebook(text)
    if name.lower().endswith((".rmd", ".qmd")):
        return "\n".join(match.group(1) for match in _CHUNK.finditer(text))
    return text


def _read_notebook(text: str) -> str:
    try:
        value = json.loads(text)
        if value["metadata"]["kernelspec"].get("language", value["metadata"]["kernelspec"]["name"]).lower() not in {
            "r",
            "ir",
        }:
            return ""
        return "\n".join("".join(cell["source"]) for cell in value["cells"] if cell["cell_type"] == "code")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""

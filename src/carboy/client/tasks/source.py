"""A function as text that stands alone, so that the container needs neither the caller's files nor carboy.

What the function uses of its module goes with it: other functions and classes as their source, modules as imports, plain values
as literals. What cannot go is an error that names it, before anything runs.
"""

from __future__ import annotations

import builtins
import inspect
import sys
import textwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

from carboy.errors import CarboyError

_PLAIN = (str, int, float, bool, bytes, type(None))


def function_source(function: FunctionType) -> str:
    """Return Python text that defines ``function`` under its name. Raises ``CarboyError`` naming what cannot go along."""
    gathered = _Gathering(function.__name__)
    gathered.add(function.__name__, function)
    return gathered.text()


class _Gathering:
    """The definitions that one function needs, in an order in which they can be executed."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._imports: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._definitions: dict[str, str] = {}

    def text(self) -> str:
        parts = [*self._imports.values(), *self._values.values(), *self._definitions.values()]
        return "from __future__ import annotations\n" + "\n".join(parts)

    def add(self, name: str, value: object) -> None:
        if name in self._imports or name in self._values or name in self._definitions:
            return
        origin = getattr(value, "__carboy_task__", None)
        value = origin if origin is not None else value
        if isinstance(value, ModuleType):
            self._imports[name] = f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
        elif isinstance(value, FunctionType) and self._is_ours(value):
            self._add_definition(
                name, value, (value.__code__,), value.__globals__, inspect.getclosurevars(value).nonlocals
            )
        elif inspect.isclass(value) and self._is_ours(value):
            methods = [m for m in vars(value).values() if isinstance(m, FunctionType)]
            scope = vars(sys.modules[value.__module__]) if value.__module__ in sys.modules else {}
            self._add_definition(name, value, [m.__code__ for m in methods], scope, {})
        elif hasattr(value, "__module__") and hasattr(value, "__qualname__") and "." not in value.__qualname__:
            own = value.__qualname__
            self._imports[name] = f"from {value.__module__} import {own}" + (f" as {name}" if own != name else "")
        elif _is_plain(value):
            self._values[name] = f"{name} = {value!r}"
        else:
            raise self._refuse(name, f"a value of type {type(value).__name__} cannot go along")

    @staticmethod
    def _is_ours(value: Any) -> bool:
        """Return whether the source must travel: what an installed package has is imported there as it is here."""
        module = sys.modules.get(value.__module__)
        file = getattr(module, "__file__", None) or ""
        return "site-packages" not in file and "dist-packages" not in file and not _is_standard(value.__module__)

    def _add_definition(self, name: str, value: Any, codes: Any, scope: dict[str, Any], closed: Any) -> None:
        try:
            source = textwrap.dedent(inspect.getsource(value))
        except (OSError, TypeError) as error:
            raise self._refuse(name, "its source cannot be read (was it typed at a prompt?)") from error
        if source.lstrip().startswith("lambda") or getattr(value, "__name__", "") == "<lambda>":
            raise self._refuse(name, "a lambda has no source of its own; write a def")
        self._definitions[name] = ""  # a function that calls itself ends here
        for used in _names(codes):
            if used in closed:
                self.add(used, closed[used])
            elif used in scope and used != name and not used.startswith("__"):
                self.add(used, scope[used])
            elif not hasattr(builtins, used):
                continue  # an attribute's name, or one that the function itself complains of when it is called
        del self._definitions[name]
        self._definitions[name] = _without_decorators(source)

    def _refuse(self, name: str, why: str) -> CarboyError:
        what = f"the function {name}" if name == self._task else f"{name}, which {self._task} uses"
        hint = "pass it as an argument, or make it inside the function"
        return CarboyError(f"{what} cannot go into a container: {why}", hint=hint)


def _names(codes: Any) -> list[str]:
    found: list[str] = []
    for code in codes:
        found += [*code.co_names, *code.co_freevars]
        found += _names([constant for constant in code.co_consts if isinstance(constant, CodeType)])
    return found


def _without_decorators(source: str) -> str:
    """Cut what stands before ``def`` or ``class``: the task's own decorator is not there inside."""
    import ast

    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    kept = []
    for decorator in node.decorator_list:
        text = ast.get_source_segment(source, decorator) or ""
        if text.split("(")[0] in {"staticmethod", "dataclass", "functools.cache", "functools.lru_cache"}:
            kept.append(f"@{text}\n")
    lines = source.splitlines(keepends=True)
    return "".join(kept) + "".join(lines[node.lineno - 1 :])


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in _PLAIN


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names and module != "__main__"

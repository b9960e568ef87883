"""What R's code names: the packages that it attaches or calls, and those that an ``install.R`` installs. Pure.

Neither is run. What only running would tell is refused for ``install.R``, and not seen for other code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from carboy.environments.r.tokens import Token, iter_tokens, read_code
from carboy.environments.r.versions import check_version
from carboy.environments.r.wants import BASE, INSTALL, RPackage, is_name
from carboy.errors import CarboyError

_ATTACHING = frozenset({"library", "require", "requireNamespace", "loadNamespace"})
# Where a name may stand without quotes: they take it as it is written.
_UNQUOTED = frozenset({"library", "require"})
_INSTALLING = frozenset(
    {"install.packages", "install_cran", "install", "install_version", "pkg_install", "pak", "p_load", "p_install"}
)
# What takes names without quotes, as many as there are.
_BARE = frozenset({"p_load", "p_install"})
_PASSED = frozenset({"install.packages", "install_cran", "install_version", "pkg_install"})
_ENDS_OF_ARGUMENTS = ([Token("mark", ")")], [Token("mark", ",")])
_ELSEWHERE = re.compile(r"install_(github|gitlab|git|url|bitbucket|local|svn|dev|bioc)")


def find_libraries(code: Mapping[str, str], *, local: Collection[str] = ()) -> tuple[str, ...]:
    """Return the packages that files of R's code name, without those of R itself and ``local`` ones."""
    found: set[str] = set()
    for name, text in code.items():
        tokens = list(iter_tokens(read_code(name, text)))
        for place, token in enumerate(tokens):
            if token.kind != "name":
                continue
            following = tokens[place + 1 : place + 4]
            marks = [item.text for item in following if item.kind == "mark"]
            if following and following[0].text in {"::", ":::"} and following[0].kind == "mark":
                found.add(token.text)
            elif token.text in _ATTACHING and len(following) > 2 and marks[:1] == ["("] and following[0].text == "(":
                argument, after = following[1], following[2]
                unquoted = argument.kind == "name" and token.text in _UNQUOTED and after.text in {")", ","}
                if argument.kind == "string" or (unquoted and not _is_computed(tokens[place:])):
                    found.add(argument.text)
    return tuple(sorted(name for name in found - BASE - set(local) if is_name(name) and len(name) > 1))


def _is_computed(tokens: Sequence[Token]) -> bool:
    """Return whether a call says ``character.only``: its argument is a variable then."""
    for token in tokens[:12]:
        if token.text == "character.only":
            return True
        if token.kind == "mark" and token.text == ")":
            break
    return False


def parse_install(text: str) -> tuple[RPackage, ...]:
    """Return the packages that an ``install.R`` installs, sorted by name.

    Raises ``CarboyError`` for a package of elsewhere than CRAN and Bioconductor, and for one that only running would tell.
    """
    tokens = list(iter_tokens(text))
    known = _find_assignments(tokens)
    found: dict[str, RPackage] = {}
    for place, token in enumerate(tokens):
        if token.kind != "name":
            continue
        if tokens[place + 1 : place + 2] != [Token("mark", "(")]:
            if token.text in _PASSED and tokens[place + 1 : place + 2] in _ENDS_OF_ARGUMENTS:
                raise _only_running(token.text)  # lapply(packages, install.packages)
            continue
        if _ELSEWHERE.fullmatch(token.text):
            raise CarboyError(
                f"{INSTALL} installs from elsewhere: {token.text}()",
                details="what is at such a place has no version that could be locked",
                hint="install a released version with install.packages(), or build with a Dockerfile",
            )
        if token.text not in _INSTALLING:
            continue
        owner = tokens[place - 2].text if place >= 2 and tokens[place - 1].text in {"::", ":::"} else ""
        if token.text == "install" and owner not in {"BiocManager", "renv", "pak"}:
            continue
        arguments = _split_arguments(tokens[place + 2 :])
        if token.text in _BARE:
            found |= {package.name: package for package in _read_bare(token.text, arguments, known)}
            continue
        for package in _read_call(token.text, owner, arguments, known):
            found[package.name] = package
    return tuple(found[name] for name in sorted(found) if name not in BASE)


def _read_bare(call: str, arguments: Sequence[Sequence[Token]], known: Mapping[str, tuple[str, ...]]) -> list[RPackage]:
    """Return what pacman's calls name: each argument is a package, without quotes, but for ``char`` and other options."""
    has_variables = any(argument[0].text == "character.only" for argument in arguments)
    found: list[RPackage] = []
    for argument in arguments:
        if argument[1:2] == [Token("mark", "=")]:
            if argument[0].text != "char":
                continue
            named = argument[2:]
        elif len(argument) == 1 and not has_variables:
            named = [Token("string", argument[0].text)]
        else:
            named = argument
        found += _read_call(call, "", [named], known)
    return found


def _find_assignments(tokens: Sequence[Token]) -> dict[str, tuple[str, ...]]:
    """Return the variables that hold texts, once and for all: ``packages <- c("a", "b")``."""
    found: dict[str, tuple[str, ...]] = {}
    for place, token in enumerate(tokens[:-2]):
        if token.kind == "name" and tokens[place + 1].text in {"<-", "="} and tokens[place + 1].kind == "mark":
            texts = _read_texts(tokens[place + 2 :])
            if texts is not None:
                found[token.text] = texts
    return found


def _read_texts(tokens: Sequence[Token]) -> tuple[str, ...] | None:
    """Return the texts that an expression begins with, ``"a"`` or ``c("a", "b")``; None for anything else."""
    if tokens and tokens[0].kind == "string":
        return (tokens[0].text,)
    if [token.text for token in tokens[:2]] != ["c", "("] or tokens[0].kind != "name":
        return None
    texts = []
    for place, token in enumerate(tokens[2:], 2):
        if token.kind == "string":
            texts.append(token.text)
        elif token.kind == "name" and tokens[place + 1 : place + 2] == [Token("mark", "=")]:
            continue  # c(plots = "ggplot2"): a name for an element
        elif token.text == "=":
            continue
        elif token.text == ")":
            return tuple(texts)
        elif token.text != ",":
            return None
    return None


def _split_arguments(tokens: Sequence[Token]) -> list[list[Token]]:
    """Return the arguments of a call whose opening bracket was before ``tokens``."""
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        mark = token.text if token.kind == "mark" else ""
        if mark in {")", "]", "}"} and not depth:
            break
        depth += (mark in {"(", "[", "{"}) - (mark in {")", "]", "}"})
        if mark == "," and not depth:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return [argument for argument in arguments if argument]


def _read_call(
    call: str, owner: str, arguments: Sequence[Sequence[Token]], known: Mapping[str, tuple[str, ...]]
) -> list[RPackage]:
    named = {item[0].text: item[2:] for item in arguments if len(item) > 2 and item[1].text == "="}
    plain = [item for item in arguments if len(item) < 2 or item[1].text != "="]
    first = next((named[key] for key in ("pkgs", "package", "packages", "pkg") if key in named), None)
    first = first if first is not None else (plain.pop(0) if plain else None)
    if first is None:
        if owner == "BiocManager":
            return []  # brings what is installed up to date
        raise _only_running(call)
    texts = _read_texts(first)
    if texts is None and len(first) == 1:
        texts = known.get(first[0].text)
    if texts is None:
        raise _only_running(call)
    version = ""
    if call == "install_version":
        given = _read_texts(named.get("version", plain[0] if plain else ()))
        version = check_version(given[0], where=f"{INSTALL}: install_version()") if given else ""
    return [_read_name(text, call, version, bioconductor=owner == "BiocManager") for text in texts]


def _read_name(text: str, call: str, version: str, *, bioconductor: bool) -> RPackage:
    name, at, pinned = text.partition("@")
    prefix, colons, rest = name.partition("::")
    if colons and prefix in {"cran", "bioc"}:
        name, bioconductor = rest, prefix == "bioc"
    version = version or (check_version(pinned, where=f"{INSTALL}: {text}") if at else "")
    if not is_name(name):
        raise CarboyError(
            f"{INSTALL}: {call}() installs {text!r}, which is no name of a package",
            hint="install a released version with install.packages()",
        )
    return RPackage(name=name, operator="==" if version else "", version=version, bioconductor=bioconductor)


def _only_running(call: str) -> CarboyError:
    return CarboyError(
        f"{INSTALL}: only running it would tell what {call}() installs",
        hint='name the packages in quotes there: install.packages(c("dplyr", "ggplot2")), or write a DESCRIPTION',
    )

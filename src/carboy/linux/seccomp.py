"""The system call filter: a profile kept as data, assembled into a BPF program, loaded into a process.

``seccomp_profile.json`` is a list of rules, read in order: the first that fits a call decides it. It is an allow list.
What no rule names, because it is newer than the list perhaps, ends with ENOSYS, so that C libraries fall back to what
they used before; what is known to be dangerous in a container ends with EPERM.

Arguments are compared at the width that the kernel uses. Most are 32 bits wide there, so that the upper half of the
register must not change the answer; a rule whose mask is wider than 32 bits looks at both halves.

The programs for the usual capabilities are kept ready in ``filters/``, because assembling one costs a start 3 ms. They are
this module's own work (``scripts/filters.py`` writes them) and a test holds each to what it would assemble.

A program of another machine (32-bit calls on x86_64) is killed at its first call; x32 calls end with ENOSYS.

Sources: seccomp(2), linux/filter.h, linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import errno
import os

from carboy.errors import CarboyError
from carboy.linux import capabilities, foreign
from carboy.linux.libc import LIBC, check, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
    Block = tuple[Instruction, ...]
    Rule = dict[str, Any]

LD_ABS, AND, JEQ, JGE, JA, RET = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
RET_KILL_PROCESS = 0x80000000
RET_ALLOW = 0x7FFF0000
RET_ERRNO = 0x00050000
RET_TRAP = 0x00030000
RET_LOG = 0x7FFC0000
OFFSET_NUMBER, OFFSET_ARCH, OFFSET_ARGUMENTS = 0, 4, 16
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MAX_INSTRUCTIONS = 4096
WORD = 0xFFFFFFFF

PROFILE_PATH = os.path.join(os.path.dirname(__file__), "seccomp_profile.json")
FILTERS = os.path.join(os.path.dirname(__file__), "filters")
_RULE_KEYS = {"why", "action", "names", "only_when", "capability", "arguments"}


class Profile:
    """A profile as read: its rules, in order, and the bytes that they came from."""

    __slots__ = ("default", "rules", "source")

    def __init__(self, source: bytes) -> None:
        """Parse a profile. Raises ``ValueError`` for one with a key or an action that is not known."""
        document = _parse_json(source.decode())
        self.source = source
        self.default: str = document["default"]
        self.rules: list[Rule] = document["rules"]
        parse_action(self.default)
        for rule in self.rules:
            parse_action(rule["action"])
            if not _RULE_KEYS.issuperset(rule) or rule.get("only_when", "emulate_root") != "emulate_root":
                raise ValueError(f"a rule that is not understood: {rule}")


def _parse_json(text: str) -> Any:
    """Parse a document that carboy ships; on the way of every start.

    ``json`` imports ``re`` and ``enum``, ten times slower than all that is done here; its C half needs neither.
    """
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    return make_scanner(_ScannerSettings)(text.strip(), 0)[0]  # type: ignore[arg-type]  # the stub asks too much


class _ScannerSettings:
    """What the C half of ``json`` asks of its caller."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_profile_read: list[Profile] = []
_returns: dict[str, Block] = {}
_compiled: dict[tuple[bytes, frozenset[str], str, bool], bytes] = {}


def read_profile() -> Profile:
    """Return carboy's own profile; read from disk once per process."""
    if not _profile_read:
        with open(PROFILE_PATH, "rb") as file:
            _profile_read.append(Profile(file.read()))
    return _profile_read[0]


def parse_action(name: str) -> int:
    """Return what the filter returns for an action: ALLOW, LOG (and allow), KILL, TRAP (SIGSYS), SUCCEED (without effect), or
    the name of an error.
    """
    fixed = {
        "ALLOW": RET_ALLOW, "LOG": RET_LOG, "KILL": RET_KILL_PROCESS, "TRAP": RET_TRAP, "SUCCEED": RET_ERRNO,
    }  # fmt: skip
    if name in fixed:
        return fixed[name]
    if name not in errno.errorcode.values():
        raise ValueError(f"there is no action {name!r}")
    code: int = getattr(errno, name)
    return RET_ERRNO | code


def compile_profile(
    profile: Profile | None = None,
    *,
    emulate_root: bool,
    caps: frozenset[str] = frozenset(),
    arch: str | None = None,
) -> bytes:
    """Return the BPF program of a profile (carboy's own) for a machine (this one).

    ``caps`` are the container's capabilities, without prefix: some open calls that are shut otherwise. ``emulate_root``
    makes changes of owner and identity succeed without effect, for containers that have one id only. About 1 ms, unless
    the program is kept ready; the same question is answered from memory. Raises ``CarboyError`` (125) for a machine
    whose calls are not known: a sandbox without its filter is never started.
    """
    arch = arch or os.uname().machine
    if profile is None:
        ready = read_filter(arch, caps=caps, emulate_root=emulate_root)
        if ready is not None:
            return ready
    profile = profile or read_profile()
    key = (profile.source, caps, arch, emulate_root)
    if key not in _compiled:
        _compiled[key] = assemble(profile, find_numbers(arch), arch=arch, caps=caps, emulate_root=emulate_root)
    return _compiled[key]


def name_filter(arch: str, *, caps: frozenset[str], emulate_root: bool) -> str:
    """Return the name of the file in ``filters/`` that a program of carboy's own profile is kept in, if it is."""
    return f"{arch}.{capabilities.mask(caps):x}.{'one-id' if emulate_root else 'ids'}.bpf"


def read_filter(arch: str, *, caps: frozenset[str], emulate_root: bool) -> bytes | None:
    """Return a program of carboy's own profile that is kept ready; None when it must be assembled."""
    try:
        with open(f"{FILTERS}/{name_filter(arch, caps=caps, emulate_root=emulate_root)}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def find_numbers(arch: str) -> Mapping[str, int]:
    """Return the table of system call numbers of a machine, by name."""
    from carboy.linux import numbers

    tables = {"x86_64": numbers.X86_64, "aarch64": numbers.AARCH64}
    if arch not in tables:
        raise CarboyError(
            f"carboy cannot make sandboxes on {arch} yet",
            details=f"its system call filter knows {' and '.join(tables)}",
            code=125,
        )
    return tables[arch]


# --- assembling ---------------------------------------------------------------------------------------------------


def assemble(
    profile: Profile, numbers: Mapping[str, int], *, arch: str, caps: frozenset[str], emulate_root: bool
) -> bytes:
    """Return the BPF program: a search tree over ranges of numbers that share one fate.

    The kernel notes, when it loads the program, which calls it allows whatever their arguments, and does not run it for
    these; the tree keeps the others, and older kernels, at about eight steps.
    """
    blocks: dict[int, Block] = {}
    for name, rules in group_rules(profile, caps=caps, emulate_root=emulate_root).items():
        if name in numbers:
            blocks[numbers[name]] = _build_block(rules, profile.default)
    default = _build_return(profile.default)
    program: list[Instruction] = [
        (LD_ABS, 0, 0, OFFSET_ARCH),
        (JEQ, 1, 0, AUDIT_ARCH[arch]),
        (RET, 0, 0, RET_KILL_PROCESS),
        (LD_ABS, 0, 0, OFFSET_NUMBER),
        *_build_tree(_find_segments(blocks, default)),
    ]
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(program)} instructions; the kernel takes {MAX_INSTRUCTIONS}")
    return b"".join(
        code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little") for code, yes, no, value in program
    )


def _build_return(action: str) -> Block:
    """Return the block of an action; always the same object, which makes comparing runs of them quick."""
    if action not in _returns:
        _returns[action] = ((RET, 0, 0, parse_action(action)),)
    return _returns[action]


def group_rules(profile: Profile, *, caps: frozenset[str], emulate_root: bool) -> dict[str, list[Rule]]:
    """Return for each call the rules that can decide it, in order, up to the first without conditions."""
    found: dict[str, list[Rule]] = {}
    decided: set[str] = set()
    for rule in profile.rules:
        if "only_when" in rule and not emulate_root:
            continue
        if rule.get("capability", "") and rule["capability"] not in caps:
            continue
        for name in rule["names"]:
            if name not in decided:
                found.setdefault(name, []).append(rule)
                if "arguments" not in rule:
                    decided.add(name)
    return found


def _build_block(rules: Sequence[Rule], default: str) -> Block:
    """Return the instructions that decide one call; every path ends in a return."""
    if "arguments" not in rules[0]:
        return _build_return(rules[0]["action"])
    block: Block = () if "arguments" not in rules[-1] else _build_return(default)
    for rule in reversed(rules):
        then = _build_return(rule["action"])
        for argument in reversed(rule.get("arguments", ())):
            then = _build_test(argument, then)
        block = then + block
    return block


def _build_test(argument: Rule, then: Block) -> Block:
    """Return ``then`` behind a test of one argument; where that fails, control goes past the end of the whole.

    The argument is one of "any_of" below the mask, or (32 bits wide) none of "none_of".
    """
    if "none_of" in argument:
        steps: list[Instruction] = [(LD_ABS, 0, 0, OFFSET_ARGUMENTS + 8 * argument["index"])]
        values = [int(value, 0) for value in argument["none_of"]]
        steps += [(JEQ, len(values) - 1 - at + len(then), 0, value) for at, value in enumerate(values)]
        return (*steps, *then)
    mask = int(argument.get("mask", "0xFFFFFFFF"), 0)
    values = [int(value, 0) for value in argument["any_of"]]
    # Both machines known here are little-endian: the lower half comes first.
    offset = OFFSET_ARGUMENTS + 8 * argument["index"]
    then = _build_comparison(offset, mask & WORD, [value & WORD for value in values], then)
    if mask > WORD:
        high = {value >> 32 for value in values}
        if len(high) != 1:
            raise ValueError(f"values with different upper halves: {argument}")
        then = _build_comparison(offset + 4, mask >> 32, list(high), then)
    return then


def _build_comparison(offset: int, mask: int, values: Sequence[int], then: Block) -> Block:
    steps: list[Instruction] = [(LD_ABS, 0, 0, offset)]
    if mask != WORD:
        steps.append((AND, 0, 0, mask))
    for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
        steps.append((JEQ, left, 0 if left else len(then), value))
    return (*steps, *then)


def _find_segments(blocks: Mapping[int, Block], default: Block) -> list[tuple[int, Block]]:
    """Return the runs of numbers with one fate, as (first number, block), from 0 on and without gaps.

    The last run has no end: numbers to come, x32 calls (which have bit 30 set) and -1 end in the default.
    """
    segments: list[tuple[int, Block]] = []
    for number in range(max(blocks) + 2):
        block = blocks.get(number, default)
        if not segments or segments[-1][1] != block:
            segments.append((number, block))
    return segments


def _build_tree(segments: Sequence[tuple[int, Block]]) -> Iterator[Instruction]:
    """Yield a binary search for the run that the accumulator lies in, its block at each leaf."""
    if len(segments) == 1:
        yield from segments[0][1]
        return
    middle = len(segments) // 2
    low = list(_build_tree(segments[:middle]))
    if len(low) < 256:
        yield (JGE, len(low), 0, segments[middle][0])
    else:  # conditional jumps reach 255 instructions only; the unconditional one reaches everywhere
        yield (JGE, 0, 1, segments[middle][0])
        yield (JA, 0, 0, len(low))
    yield from low
    yield from _build_tree(segments[middle:])


# --- loading ------------------------------------------------------------------------------------------------------

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1


class _Program(foreign.Structure):
    _fields_ = (("length", foreign.c_ushort), ("filter", foreign.c_char_p))


def load(program: bytes) -> None:
    """Filter this thread and all that it becomes, for good, and set no_new_privs, which goes with it.

    Raises ``OSError``; the process is then unfiltered, and must not go on to run anything of an image.
    """
    zero = foreign.c_ulong(0)
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, foreign.c_ulong(1), zero, zero, zero), "prctl(PR_SET_NO_NEW_PRIVS)")
    header = _Program(len(program) // 8, program)
    syscall("seccomp", SECCOMP_SET_MODE_FILTER, 0, foreign.byref(header))

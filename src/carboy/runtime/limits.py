"""Docker's notations for limits, to values; and what is wrong with values, all of it at once. Pure.

Sources: docker-run(1), go-units (sizes and ulimits), the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

from carboy.errors import CarboyError
from carboy.runtime.spec import Device, Limits

__all__ = [
    "Limits", "check_values", "find_issues", "parse_bytes", "parse_cpus", "parse_device", "parse_list", "parse_swap",
    "parse_ulimit",
]  # fmt: skip

# RLIMIT_* of asm-generic/resource.h; the names are those of Docker's --ulimit.
RLIMITS = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "locks": 10,
    "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}  # fmt: skip
UNLIMITED = -1
MIN_MEMORY_BYTES = 6 * 2**20
MAX_CPU = 8191  # CONFIG_NR_CPUS is at most 8,192
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def parse_bytes(text: str) -> int:
    """Return the bytes of a size as Docker writes it ("512m", "1.5g", "1GiB", "4096"). Raises ``ValueError``."""
    lower = text.strip().lower()
    number = lower.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = lower[len(number) :].strip()
    if len(unit) > 1:
        unit = unit.removesuffix("b").removesuffix("i")
    whole, dot, fraction = number.partition(".")
    if unit not in _UNITS or not _is_digits(whole) or (dot and not _is_digits(fraction)) or len(number) > 18:
        raise ValueError(f"{text!r} is no size: write a number with k, m, g or t, as 512m or 1.5g")
    scale = int("1" + "0" * len(fraction))
    size = (int(whole + fraction) << _UNITS[unit]) // scale
    if size >= 2**63:
        raise ValueError(f"{text!r} is more than 8 EiB")
    return size


def parse_swap(text: str) -> int:
    """Return the bytes of ``--memory-swap``: a size, or "-1" for unlimited swap. Raises ``ValueError``."""
    return UNLIMITED if text.strip() == "-1" else parse_bytes(text)


def parse_cpus(text: str) -> float:
    """Return a number of CPUs ("2", "1.5", ".5"). Raises ``ValueError``."""
    whole, dot, fraction = text.strip().partition(".")
    if not (_is_digits(whole) or (dot and not whole)) or (dot and not _is_digits(fraction)) or len(text) > 18:
        raise ValueError(f"{text!r} is no number of CPUs: write 2 or 1.5")
    return float(text)


def parse_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a list of CPUs or memory nodes ("0-3,5"), sorted. Raises ``ValueError``."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not _is_digits(first) or not _is_digits(last) or len(last) > 5 or not int(first) <= int(last) <= MAX_CPU:
            raise ValueError(f"{text!r} is no list: write 0-3 or 0,2")
        numbers |= set(range(int(first), int(last) + 1))
    return tuple(sorted(numbers))


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """Return (name, soft, hard) of a ``--ulimit`` ("nofile=1024:2048", "core=0", "memlock=-1"). Raises ``ValueError``."""
    name, equals, values = text.strip().partition("=")
    soft, colon, hard = values.partition(":")
    if name not in RLIMITS:
        raise ValueError(f"{name!r} is no limit of the kernel's: one of {', '.join(sorted(RLIMITS))}")
    if not equals or not values:
        raise ValueError(f"{text!r} has no value: write {name}=SOFT or {name}=SOFT:HARD")
    numbers = [_parse_limit(item, text) for item in ((soft, hard) if colon else (soft, soft))]
    if _order(numbers[0]) > _order(numbers[1]):
        raise ValueError(f"{text!r}: the soft limit is above the hard one")
    return name, numbers[0], numbers[1]


def _parse_limit(item: str, text: str) -> int:
    if item in {"-1", "unlimited"}:
        return UNLIMITED
    if not _is_digits(item) or len(item) > 19:
        raise ValueError(f"{text!r}: {item!r} is no number; -1 is for unlimited")
    return int(item)


def _order(limit: int) -> float:
    return float("inf") if limit == UNLIMITED else limit


def parse_device(text: str) -> Device:
    """Return the device of a ``--device`` ("/dev/fuse", "/dev/sda:/dev/xvda:r"). Raises ``ValueError``."""
    parts = text.split(":")
    source, target, permissions = parts[0], parts[0], "rwm"
    if len(parts) == 2 and _is_permissions(parts[1]):
        permissions = parts[1]
    elif len(parts) in {2, 3}:
        target = parts[1]
        permissions = parts[2] if len(parts) == 3 else permissions
    if len(parts) > 3 or not _is_permissions(permissions):
        raise ValueError(f"{text!r} is no device: write /dev/NAME[:/dev/OTHER][:rwm]")
    for path in (source, target):
        if not path.startswith("/") or "\0" in path or ".." in path.split("/") or len(path) > 1024:
            raise ValueError(f"{text!r}: {path!r} must be an absolute path without '..'")
    if not any(item in "rw" for item in permissions):
        raise ValueError(f"{text!r}: a device that may be neither read nor written is of no use")
    return Device(source=source, target=target, permissions=permissions)


def _is_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def find_issues(limits: Limits) -> list[str]:
    """Return what is wrong with the values, whatever the machine: one sentence each, empty when nothing is."""
    issues = []
    for name, value, low, high in (
        ("cpu-shares", limits.cpu_shares, 2, 262_144),
        ("blkio-weight", limits.blkio_weight, 10, 1000),
    ):
        if value and not low <= value <= high:
            issues.append(f"--{name} is {value}: it must be between {low} and {high}")
    if limits.cpus and not 0.01 <= limits.cpus <= MAX_CPU:
        issues.append(f"--cpus is {limits.cpus}: it must be 0.01 or more")
    if limits.oom_score_adj is not None and not -1000 <= limits.oom_score_adj <= 1000:
        issues.append(f"--oom-score-adj is {limits.oom_score_adj}: it must be between -1000 and 1000")
    if limits.shm_bytes <= 0:
        issues.append("--shm-size must be more than 0")
    for name, text in (("cpuset-cpus", limits.cpuset_cpus), ("cpuset-mems", limits.cpuset_mems)):
        try:
            parse_list(text or "0")
        except ValueError as error:
            issues.append(f"--{name}: {error}")
    return issues + _find_memory_issues(limits) + _find_ulimit_issues(limits)


def _find_memory_issues(limits: Limits) -> list[str]:
    memory, swap, reserved = limits.memory_bytes, limits.memory_swap_bytes, limits.memory_reservation_bytes
    issues = []
    if memory < 0 or reserved < 0 or swap < UNLIMITED:
        issues.append("a size of memory cannot be negative; -1 is for --memory-swap only")
    if 0 < memory < MIN_MEMORY_BYTES:
        issues.append(f"--memory is {memory} bytes: at least {MIN_MEMORY_BYTES} (6m) are needed to start anything")
    if swap > 0 and not memory:
        issues.append("--memory-swap counts memory and swap together, so it needs --memory as well")
    elif 0 < swap < memory:
        issues.append("--memory-swap counts memory and swap together, so it cannot be less than --memory")
    if memory and reserved > memory:
        issues.append("--memory-reservation cannot be more than --memory")
    return issues


def _find_ulimit_issues(limits: Limits) -> list[str]:
    issues = []
    seen: set[str] = set()
    for name, soft, hard in limits.ulimits:
        if name not in RLIMITS:
            issues.append(f"--ulimit {name}: the kernel has no such limit")
        if name in seen:
            issues.append(f"--ulimit {name} is given twice")
        if _order(soft) > _order(hard) or min(soft, hard) < UNLIMITED:
            issues.append(f"--ulimit {name}={soft}:{hard}: the soft limit is above the hard one, or one is negative")
        seen.add(name)
    return issues


def check_values(limits: Limits) -> None:
    """Raise ``CarboyError`` (125) that names everything :func:`find_issues` finds."""
    issues = find_issues(limits)
    if issues:
        raise CarboyError(issues[0], details="\n".join(issues[1:]), code=125)

"""Who this process is, and what it may become: the three tiers of ADR 1, found out by probing.

========  ============================================================  ================================================
tier      who                                                           what it can do
========  ============================================================  ================================================
root      uid 0 with CAP_SYS_ADMIN over all ids of the machine          everything
subuid    a user with a range in /etc/subuid, newuidmap, newgidmap      many ids: a user namespace maps them
single    a user with nothing but their own id                          one id: changing owners is emulated by seccomp
========  ============================================================  ================================================

In the two user tiers :func:`enter_tier` moves the process into a user namespace where it is uid 0; from there on all
code is that of root. Facts are read first, the tier is chosen from them without I/O, and only then something is done.

Sources: user_namespaces(7), subuid(5), newuidmap(1).
"""

from __future__ import annotations

import errno
import os

from carboy.errors import CarboyError
from carboy.linux import subids
from carboy.linux.capabilities import NUMBERS
from carboy.linux.namespaces import CLONE_NEWUSER, unshare, write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Extents = tuple[tuple[int, int, int], ...]

TIERS = ("root", "subuid", "single")
CONTAINER_IDS = 65_536
ALL_IDS: Extents = ((0, 0, 2**32 - 1),)
_HELPER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ADMIN = 1 << NUMBERS["SYS_ADMIN"]
_EXPLAIN_USER_NAMESPACES = "`carboy doctor` says what forbids user namespaces on this machine and how to allow them"


class Tier:
    """The tier that a process is in: set once, never changed.

    ``kind`` says how owners stand on disk: "multi" (as the image has them) or "single" (all of them one). ``id_count``
    is how many ids, from 0 on, a container can have. The extents are (inside, outside, count). ``owner_uid`` and
    ``owner_gid`` are who the caller was before.
    """

    __slots__ = ("gid_extents", "id_count", "kind", "name", "owner_gid", "owner_uid", "uid_extents")

    name: str
    kind: str
    id_count: int
    uid_extents: Extents
    gid_extents: Extents
    owner_uid: int
    owner_gid: int

    def __init__(self, name: str, *, uid_extents: Extents, gid_extents: Extents, owner: tuple[int, int]) -> None:
        ids = min(subids.count_ids(uid_extents), subids.count_ids(gid_extents))
        for field, value in (
            ("name", name),
            ("kind", "single" if name == "single" else "multi"),
            ("id_count", CONTAINER_IDS if name == "root" else ids),
            ("uid_extents", uid_extents),
            ("gid_extents", gid_extents),
            ("owner_uid", owner[0]),
            ("owner_gid", owner[1]),
        ):
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Tier is frozen")

    def __repr__(self) -> str:
        return f"Tier({self.name!r}, id_count={self.id_count}, owner={self.owner_uid}:{self.owner_gid})"


class Facts:
    """What the choice of a tier depends on. Every field has a value that stands for "not there"."""

    __slots__ = (
        "capabilities", "gid", "gid_map", "gid_ranges", "limit", "name", "newgidmap", "newuidmap", "no_new_privileges",
        "restricted", "uid", "uid_map", "uid_ranges",
    )  # fmt: skip

    def __init__(
        self,
        *,
        uid: int = 1000,
        gid: int = 1000,
        name: str = "user",
        capabilities: int = 0,
        uid_map: Extents = ALL_IDS,
        gid_map: Extents = ALL_IDS,
        newuidmap: str = "",
        newgidmap: str = "",
        uid_ranges: tuple[tuple[int, int], ...] = (),
        gid_ranges: tuple[tuple[int, int], ...] = (),
        no_new_privileges: bool = False,
        limit: int = 1,
        restricted: str = "",
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.name = name
        self.capabilities = capabilities  # the effective set, as bits
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.newuidmap = newuidmap  # path; empty when missing, or without the privilege that it needs
        self.newgidmap = newgidmap
        self.uid_ranges = uid_ranges
        self.gid_ranges = gid_ranges
        self.no_new_privileges = no_new_privileges
        self.limit = limit  # of user namespaces (sysctl user.max_user_namespaces)
        self.restricted = restricted  # the sysctl that forbids user namespaces to users, if one does

    @property
    def is_root(self) -> bool:
        """Whether this is uid 0 with the privilege of the whole machine."""
        return self._is_admin and self.uid_map == ALL_IDS and self.gid_map == ALL_IDS

    @property
    def is_inside(self) -> bool:
        """Whether this is uid 0 of a user namespace already: one that carboy, or somebody else, made."""
        return self._is_admin and not self.is_root

    @property
    def _is_admin(self) -> bool:
        return self.uid == 0 and bool(self.capabilities & _ADMIN)


class TierReport:
    """The tier chosen ("none" when there is none), why, and for each better one (what is missing, how to get it)."""

    __slots__ = ("missing", "reasons", "tier")

    def __init__(self, tier: str, *, reasons: Sequence[str], missing: Sequence[tuple[str, str]] = ()) -> None:
        self.tier = tier
        self.reasons = tuple(reasons)
        self.missing = tuple(missing)


# --- facts --------------------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""


def _read_map(path: str) -> Extents:
    """Return an id map of /proc; no extents where the kernel has no user namespaces."""
    extents = []
    for line in _read(path).splitlines():
        inside, outside, count = line.split()
        extents.append((int(inside), int(outside), int(count)))
    return tuple(extents)


def read_facts(wanted: str = "") -> Facts:
    """Return what this machine and this user have. Reads a few small files and changes nothing; about 0.5 ms.

    What root needs to know to stay root is read alone, unless another tier is ``wanted``.
    """
    status = dict(line.partition(":\t")[::2] for line in _read("/proc/self/status").splitlines())
    facts = Facts(
        uid=os.geteuid(),
        gid=os.getegid(),
        capabilities=int(status.get("CapEff", "0").strip(), 16),
        no_new_privileges=status.get("NoNewPrivs", "0").strip() == "1",
        uid_map=_read_map("/proc/self/uid_map"),
        gid_map=_read_map("/proc/self/gid_map"),
    )
    if facts.is_root and wanted in {"", "root"}:
        return facts
    facts.name = _find_name(facts.uid)
    facts.newuidmap = _find_helper("newuidmap")
    facts.newgidmap = _find_helper("newgidmap")
    facts.uid_ranges = subids.read_ranges(subids.SUBUID, name=facts.name, uid=facts.uid)
    facts.gid_ranges = subids.read_ranges(subids.SUBGID, name=facts.name, uid=facts.uid)
    facts.limit = int(_read("/proc/sys/user/max_user_namespaces").strip() or 0)
    facts.restricted = _find_restriction()
    return facts


def _find_restriction() -> str:
    """Return the setting by which Debian (older kernels) or Ubuntu (AppArmor) forbids user namespaces to users."""
    if _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        return "kernel.unprivileged_userns_clone=0"
    # A program with an AppArmor profile of its own is not concerned, whatever the setting says.
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == "1":
        profile = _read("/proc/self/attr/current").strip("\0\n ")
        if profile in {"", "unconfined"}:
            return "kernel.apparmor_restrict_unprivileged_userns=1"
    return ""


def _find_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _find_helper(name: str) -> str:
    """Return the path of newuidmap or newgidmap when it is there and would get the privilege that it is made for."""
    for folder in _HELPER_PATH.split(":"):
        path = f"{folder}/{name}"
        try:
            found = os.stat(path)
            if os.statvfs(path).f_flag & os.ST_NOSUID or not found.st_mode & 0o111:
                continue
            if found.st_uid == 0 and found.st_mode & 0o4000:
                return path
            os.getxattr(path, "security.capability")
        except OSError:
            continue
        return path
    return ""


# --- the choice ---------------------------------------------------------------------------------------------------


def plan_tier(facts: Facts, wanted: str = "") -> TierReport:
    """Choose the best tier for these facts, or ``wanted`` when it is possible. Pure."""
    if wanted and wanted not in TIERS:
        raise CarboyError(f"there is no tier {wanted!r}", hint=f"CARBOY_TIER is one of {', '.join(TIERS)}", code=2)
    if facts.is_root and wanted in {"", "root"}:
        return TierReport("root", reasons=["this is uid 0 with CAP_SYS_ADMIN and all ids of the machine"])
    if facts.is_inside and wanted != "single":
        count = min(subids.count_ids(facts.uid_map), subids.count_ids(facts.gid_map))
        tier = "subuid" if count > 1 else "single"
        return TierReport(tier, reasons=[f"this is uid 0 of a user namespace with {count} ids already"])
    missing = _missing_for_subuid(facts)
    blocked = [] if facts.is_root or facts.is_inside else _missing_for_namespaces(facts)
    if blocked:
        return TierReport("none", reasons=["user namespaces are not allowed to this user"], missing=blocked)
    if not missing and wanted in {"", "subuid"}:
        count = sum(count for _, count in facts.uid_ranges)
        return TierReport("subuid", reasons=[f"newuidmap is there, and /etc/subuid gives {facts.name} {count} ids"])
    reasons = ["CARBOY_TIER asks for it"] if wanted == "single" else [what for what, _ in missing]
    return TierReport("single", reasons=reasons, missing=missing)


def _missing_for_subuid(facts: Facts) -> list[tuple[str, str]]:
    missing = []
    absent = [name for name in ("newuidmap", "newgidmap") if not getattr(facts, name)]
    if absent:
        missing.append(
            (f"{' and '.join(absent)} not installed with privilege", "sudo apt-get install --reinstall uidmap")
        )
    files = [
        path for path, ranges in ((subids.SUBUID, facts.uid_ranges), (subids.SUBGID, facts.gid_ranges)) if not ranges
    ]
    if files:
        start, count = subids.find_free_range([_read(subids.SUBUID), _read(subids.SUBGID)])
        last = start + count - 1
        options = " ".join(f"--add-sub{'uids' if path == subids.SUBUID else 'gids'} {start}-{last}" for path in files)
        missing.append((f"no ids for {facts.name} in {' and '.join(files)}", f"sudo usermod {options} {facts.name}"))
    if facts.no_new_privileges:
        missing.append(
            ("no_new_privs is set: newuidmap gets no privilege", "start carboy outside the sandbox that set it")
        )
    return missing


def _missing_for_namespaces(facts: Facts) -> list[tuple[str, str]]:
    if not facts.uid_map:
        return [("the kernel is built without user namespaces", "use a kernel with CONFIG_USER_NS=y")]
    if facts.limit <= 0:
        return [("user.max_user_namespaces is 0", "sudo sysctl user.max_user_namespaces=15000")]
    if facts.restricted:
        name, _, value = facts.restricted.partition("=")
        return [(f"{name} is {value}", f"sudo sysctl {name}={1 - int(value)}")]
    return []


def probe_tier(environ: Mapping[str, str]) -> TierReport:
    """Return the tier that :func:`enter_tier` would enter, and why. Changes nothing and starts nothing."""
    wanted = environ.get("CARBOY_TIER", "")
    return plan_tier(read_facts(wanted), wanted)


# --- entering -----------------------------------------------------------------------------------------------------


class _Entered:
    """The tier of this process, once it is in one."""

    tier: Tier | None = None


def enter_tier(tier: str | None = None) -> Tier:
    """Enter the best tier, or the one asked for, and return it. A second call returns what the first one did.

    Call it before any thread is started. "subuid" gives way to "single" only when something that it needs is absent;
    when it fails half-way, that is an error. Raises ``CarboyError`` (125) when no tier is possible or the one asked for
    is not.
    """
    if _Entered.tier is not None and tier in {None, _Entered.tier.name}:
        return _Entered.tier
    facts = read_facts(tier or "")
    report = plan_tier(facts, tier or "")
    if report.tier == "none" or (tier and report.tier != tier):
        lines = [f"{what}: {how}" for what, how in report.missing] or list(report.reasons)
        brief = f"the tier {tier} is not possible here" if tier else "user namespaces are not allowed here"
        raise CarboyError(brief, details="\n".join(lines), hint=_EXPLAIN_USER_NAMESPACES, code=125)
    _Entered.tier = _enter(facts, report.tier, again=tier == "single")
    return _Entered.tier


def _enter(facts: Facts, name: str, *, again: bool) -> Tier:
    owner = (facts.uid, facts.gid)
    if name == "root" or (facts.is_inside and not again):
        return Tier(name, uid_extents=facts.uid_map, gid_extents=facts.gid_map, owner=owner)
    uids: Extents = ((0, facts.uid, 1),)
    gids: Extents = ((0, facts.gid, 1),)
    if name == "single":
        _enter_single(uids, gids)
    else:
        uids = subids.plan_extents(facts.uid, facts.uid_ranges)
        gids = subids.plan_extents(facts.gid, facts.gid_ranges)
        _enter_subuid(facts, uids, gids)
    if os.geteuid() != 0 or os.getegid() != 0:
        raise CarboyError("the user namespace was made, but this process is not uid 0 in it", code=125)
    return Tier(name, uid_extents=uids, gid_extents=gids, owner=owner)


def _unshare_user() -> None:
    try:
        unshare(CLONE_NEWUSER)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno == errno.EINVAL:
            reason = "this process has threads already"
        raise CarboyError(
            "a user namespace cannot be made", details=reason, hint=_EXPLAIN_USER_NAMESPACES, code=125
        ) from error


def _enter_single(uids: Extents, gids: Extents) -> None:
    _unshare_user()
    try:
        write_id_maps(os.getpid(), list(uids), list(gids), deny_setgroups=True)
    except (OSError, ValueError) as error:
        raise CarboyError(
            "the user namespace was made, but its ids cannot be set",
            details=str(error),
            hint=_EXPLAIN_USER_NAMESPACES,
            code=125,
        ) from error


def _enter_subuid(facts: Facts, uids: Extents, gids: Extents) -> None:
    """Unshare, and let newuidmap and newgidmap write the maps.

    Both must run outside the new namespace, as the user. So they are forked before it exists and wait for a byte: the
    end of the pipe instead of a byte means that there is nothing to map.
    """
    wait_fd, go_fd = os.pipe()
    hear_fd, say_fd = os.pipe()
    target = str(os.getpid())
    commands = [
        [path, target, *(str(number) for extent in extents for number in extent)]
        for path, extents in ((facts.newuidmap, uids), (facts.newgidmap, gids))
    ]
    children = []
    try:
        for command in commands:
            children.append(_fork_mapper(command, wait_fd, go_fd, say_fd))
        os.close(say_fd)
        say_fd = -1
        _unshare_user()
        os.write(go_fd, b"go")
        said = _read_all(hear_fd)
    finally:
        for fd in (wait_fd, go_fd, hear_fd, say_fd):
            if fd >= 0:
                os.close(fd)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    maps = (_read_map("/proc/self/uid_map"), _read_map("/proc/self/gid_map"))
    if any(statuses) or maps != (uids, gids):
        shown = "\n".join(" ".join(command) for command in commands)
        raise CarboyError(
            "newuidmap or newgidmap could not map the ids of /etc/subuid and /etc/subgid",
            details=f"{said.decode('utf-8', 'replace').strip()}\n{shown}".strip(),
            hint="mend the ranges (`carboy doctor` shows them), or set CARBOY_TIER=single to do without",
            code=125,
        )


def _fork_mapper(command: list[str], wait_fd: int, go_fd: int, say_fd: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(go_fd)
        if not os.read(wait_fd, 1):
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for source, number in ((null, 0), (say_fd, 1), (say_fd, 2)):
            os.dup2(source, number)
        os.execve(command[0], command, {"PATH": _HELPER_PATH, "LANG": "C.UTF-8"})  # noqa: S606  no shell is wanted
    except OSError as error:
        os.write(say_fd, f"{command[0]}: {os.strerror(error.errno or 0)}\n".encode())
    finally:
        os._exit(127)


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65_536):
        parts.append(part)
    return b"".join(parts)


# --- trying -------------------------------------------------------------------------------------------------------


def run_in_child(action: Callable[[], str]) -> str:
    """Return what ``action`` returns in a forked child: for probes that cannot be undone, such as entering a tier.

    An error of the child is returned as its text, behind "error: ". For processes without threads.
    """
    hear_fd, say_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hear_fd)
            try:
                answer = action()
            except CarboyError as error:
                answer = f"error: {error.brief}: {error.details}"
            except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the parent
                answer = f"error: {error}"
            os.write(say_fd, answer.encode("utf-8", "replace")[:32_768])
        finally:
            os._exit(0)
    os.close(say_fd)
    answer = _read_all(hear_fd).decode("utf-8", "replace")
    os.close(hear_fd)
    os.waitpid(pid, 0)
    return answer


def try_tier(tier: str | None = None) -> str:
    """Return "" when a child process can really enter the tier, else what went wrong."""

    def attempt() -> str:
        _Entered.tier = None
        return f"entered {enter_tier(tier).name}"

    answer = run_in_child(attempt)
    return "" if answer.startswith("entered ") else answer.removeprefix("error: ") or "the child process died"

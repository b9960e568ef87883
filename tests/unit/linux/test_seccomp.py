"""The filter: what the program answers (in a small BPF machine), and what the kernel does (in real children)."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.linux import seccomp
from carboy.linux.numbers import AARCH64, X86_64
from carboy.runtime.spec import RUN_CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES = {"x86_64": X86_64, "aarch64": AARCH64}
ALLOW = seccomp.RET_ALLOW
KILL = seccomp.RET_KILL_PROCESS
JUNK = 0xDEADBEEF << 32


def fails(code: int) -> int:
    return seccomp.RET_ERRNO | code


def run_bpf(program: bytes, number: int, *arguments: int, arch: int) -> int:
    """Run a classic BPF program over one struct seccomp_data, with the checks that the kernel's loader makes."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *arguments, *([0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == seccomp.LD_ABS:
            assert value in range(0, 64, 4)
            accumulator = int.from_bytes(data[value : value + 4], "little")
        elif operation == seccomp.AND:
            accumulator &= value
        elif operation == seccomp.JEQ:
            at += yes if accumulator == value else no
        elif operation == seccomp.JGE:
            at += yes if accumulator >= value else no
        elif operation == seccomp.JA:
            at += value
        else:
            assert operation == seccomp.RET
            return value


class Filter:
    """One compiled profile, asked by name."""

    def __init__(self, arch: str = "x86_64", *, caps: tuple[str, ...] = (), emulate_root: bool = False) -> None:
        self.arch = arch
        self.program = seccomp.compile_profile(emulate_root=emulate_root, caps=frozenset(caps), arch=arch)

    def number(self, number: int, *arguments: int, arch: int | None = None) -> int:
        return run_bpf(self.program, number, *arguments, arch=arch or seccomp.AUDIT_ARCH[self.arch])

    def __call__(self, name: str, *arguments: int) -> int:
        return self.number(TABLES[self.arch][name], *arguments)


@pytest.fixture(params=["x86_64", "aarch64"])
def plain(request: pytest.FixtureRequest) -> Filter:
    return Filter(request.param)


# --- the profile --------------------------------------------------------------------------------------------------


def test_profile_names_exist_and_say_why() -> None:
    profile = seccomp.read_profile()
    known = set(X86_64) | set(AARCH64)
    for rule in profile.rules:
        assert rule["why"]
        assert not set(rule["names"]) - known
        assert len(set(rule["names"])) == len(rule["names"])


def test_no_rule_is_out_of_reach() -> None:
    everything = frozenset(rule["capability"] for rule in seccomp.read_profile().rules if "capability" in rule)
    reached = set()
    for caps in (frozenset[str](), everything):
        for emulate in (False, True):
            for rules in seccomp.group_rules(seccomp.read_profile(), caps=caps, emulate_root=emulate).values():
                reached |= {id(rule) for rule in rules}
    assert all(id(rule) in reached for rule in seccomp.read_profile().rules)


def test_quick_parser_agrees_with_json() -> None:
    with open(seccomp.PROFILE_PATH, "rb") as file:
        source = file.read()
    assert seccomp.Profile(source).rules == json.loads(source)["rules"]


def test_a_profile_with_a_typing_error_is_refused() -> None:
    rule = {"why": "w", "action": "ALLOW", "names": ["read"]}
    for change in ({"action": "EPREM"}, {"argumnets": []}, {"only_when": "never"}):
        source = json.dumps({"default": "ENOSYS", "rules": [rule | change]}).encode()
        with pytest.raises(ValueError):
            seccomp.Profile(source)


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(CarboyError) as caught:
        seccomp.compile_profile(emulate_root=False, arch="sparc64")
    assert caught.value.code == 125


# --- what the program answers -------------------------------------------------------------------------------------


def decide(filter_: Filter, name: str, arguments: tuple[int, ...], *, caps: frozenset[str], emulate: bool) -> int:
    """Read the profile's rules one by one: what the compiled program must agree with."""
    profile = seccomp.read_profile()
    for rule in profile.rules:
        if name not in rule["names"] or ("only_when" in rule and not emulate):
            continue
        if "capability" in rule and rule["capability"] not in caps:
            continue
        if all(
            (arguments[test["index"]] & int(test.get("mask", "0xFFFFFFFF"), 0)) in {int(v, 0) for v in test["any_of"]}
            for test in rule.get("arguments", ())
        ):
            return seccomp.parse_action(rule["action"])
    return seccomp.parse_action(profile.default)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("emulate", [False, True])
@pytest.mark.parametrize("caps", [(), ("SYS_ADMIN",), ("NET_RAW", "NET_ADMIN", "SYS_PTRACE")])
def test_every_call_is_decided_as_the_rules_say(arch: str, emulate: bool, caps: tuple[str, ...]) -> None:
    filter_ = Filter(arch, caps=caps, emulate_root=emulate)
    interesting = [0, 1, 2, 10, 16, 17, 38, 40, 0x5412, 0x541C, 0x2000, 0x6000, 0x1000, 0x20000, 0x10000000, 0xFFFFFFFF]
    table = TABLES[arch]
    for name in table:
        cases = [(0,) * 6]
        if any("arguments" in rule for rule in seccomp.read_profile().rules if name in rule["names"]):
            cases = [(a, b, c, 0, 0, 0) for a in interesting for b in interesting for c in (0, 4, 9, 0x6000)]
        for case in cases:
            expected = decide(filter_, name, case, caps=frozenset(caps), emulate=emulate)
            assert filter_(name, *case) == expected, (name, case)
    assert filter_.number(max(table.values()) + 1) == fails(errno.ENOSYS)


def test_ordinary_calls_are_allowed(plain: Filter) -> None:
    for name in ("read", "write", "openat", "execve", "mmap", "futex", "clone", "wait4", "exit_group", "prctl", "rseq"):
        assert plain(name) == ALLOW, name
    for name in ("ptrace", "fchownat", "setuid", "statx", "getrandom", "io_submit", "mbind", "landlock_create_ruleset"):
        assert plain(name) == ALLOW, name


def test_dangerous_calls_are_refused(plain: Filter) -> None:
    names = """
        mount umount2 pivot_root setns open_by_handle_at name_to_handle_at bpf perf_event_open io_uring_setup
        io_uring_enter io_uring_register userfaultfd keyctl add_key request_key kexec_load init_module finit_module
        delete_module reboot syslog swapon swapoff fanotify_init settimeofday clock_settime clock_adjtime adjtimex
        fsopen fsconfig fsmount fspick open_tree move_mount mount_setattr process_vm_readv process_vm_writev
        pidfd_getfd kcmp acct quotactl quotactl_fd sethostname setdomainname open_tree_attr move_pages
    """
    for name in names.split():
        assert plain(name) == fails(errno.EPERM), name


def test_unknown_calls_do_not_exist(plain: Filter) -> None:
    for number in (470, 1000, 0x3FFFFFFF, 0xFFFFFFFF):
        assert plain.number(number) == fails(errno.ENOSYS)
    assert plain("clone3") == fails(errno.ENOSYS)


def test_other_machines_are_shut_out() -> None:
    x86 = Filter("x86_64")
    assert x86.number(X86_64["getpid"], arch=0x40000003) == KILL  # i386: int 0x80
    assert x86.number(0x40000000 | X86_64["getpid"]) == fails(errno.ENOSYS)  # x32
    assert Filter("aarch64").number(20, arch=0x40000028) == KILL  # 32-bit ARM


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_no_new_namespaces(plain: Filter, bit: int) -> None:
    assert plain("clone", 1 << bit | 17) == fails(errno.EPERM)
    assert plain("clone", JUNK | 1 << bit) == fails(errno.EPERM)
    assert plain("unshare", 1 << bit) == fails(errno.EPERM)


def test_threads_and_harmless_unshare(plain: Filter) -> None:
    assert plain("clone", 0x3D0F00) == ALLOW  # what pthread_create asks for
    assert plain("clone", 17) == ALLOW  # fork
    assert plain("unshare", 0x600) == ALLOW
    assert plain("unshare", 0x80) == fails(errno.EPERM)  # time namespace
    assert plain("unshare", 1 << 32) == fails(errno.EPERM)  # flags to come


def test_ioctl_compares_32_bits(plain: Filter) -> None:
    for request in (0x5412, 0x541C, 0x5423):
        assert plain("ioctl", 0, request) == fails(errno.EPERM)
        assert plain("ioctl", 0, JUNK | request) == fails(errno.EPERM)
    assert plain("ioctl", 0, 0x5401) == ALLOW


def test_sockets(plain: Filter) -> None:
    stream, datagram, raw, packet = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 10
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    for family in (socket.AF_INET, socket.AF_INET6):
        assert plain("socket", family, stream | flags) == ALLOW
        assert plain("socket", family, datagram, socket.IPPROTO_ICMP) == ALLOW
        for kind in (raw, packet):
            assert plain("socket", family, kind) == fails(errno.EPERM)
            assert plain("socket", family, kind | flags) == fails(errno.EPERM)
            assert plain("socket", JUNK | family, JUNK | kind) == fails(errno.EPERM)
    assert plain("socket", socket.AF_PACKET, raw) == fails(errno.EPERM)
    assert plain("socket", socket.AF_UNIX, stream) == ALLOW
    assert plain("socket", socket.AF_NETLINK, raw, 0) == ALLOW
    assert plain("socket", socket.AF_NETLINK, raw, 9) == fails(errno.EPROTONOSUPPORT)
    for family in (38, 40, 29, 31, 44):
        assert plain("socket", family, stream) == fails(errno.EAFNOSUPPORT)
        assert plain("socket", JUNK | family, stream) == fails(errno.EAFNOSUPPORT)
    assert plain("socketpair", socket.AF_UNIX) == ALLOW
    assert plain("socketpair", 30) == fails(errno.EAFNOSUPPORT)


def test_personality(plain: Filter) -> None:
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert plain("personality", value) == ALLOW
    for value in (0x0040000, 0x0400000, 0x20001, JUNK | 0x40000):
        assert plain("personality", value) == fails(errno.EPERM)


def test_capabilities_open_calls() -> None:
    assert Filter(caps=("SYS_ADMIN",))("mount") == ALLOW
    assert Filter(caps=("SYS_ADMIN",))("clone", 0x10000000) == ALLOW
    assert Filter(caps=("SYS_ADMIN",))("bpf") == fails(errno.EPERM)
    assert Filter(caps=("NET_RAW",))("socket", 17, 3) == ALLOW
    assert Filter(caps=("SYS_PTRACE",))("process_vm_readv") == ALLOW
    assert Filter(caps=("SYS_TIME",))("clock_settime") == ALLOW


def test_root_is_emulated_where_asked() -> None:
    single = Filter(emulate_root=True)
    names = (
        "chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups"
    )
    for name in names.split():
        assert single(name) == fails(0), name
        assert Filter()(name) == ALLOW, name
    for device in (0o020666, 0o060666):
        assert single("mknod", 0, device) == fails(0)
        assert single("mknodat", 0, 0, device) == fails(0)
    for other in (0o010666, 0o100666, 0o666):
        assert single("mknod", 0, other) == ALLOW
        assert single("mknodat", 0, 0, other) == ALLOW


def test_programs_are_short_quick_and_remembered() -> None:
    profile = seccomp.Profile(seccomp.read_profile().source)
    programs = set()
    for arch, table in TABLES.items():
        for emulate in (False, True):
            program = seccomp.assemble(profile, table, arch=arch, caps=frozenset(), emulate_root=emulate)
            assert len(program) < 300 * 8
            programs.add(program)
    assert len(programs) == 4
    best = min(_time_assembly(profile) for _ in range(5))
    assert best < 0.02  # about 1 ms on an idle machine
    first = seccomp.compile_profile(emulate_root=False)
    assert seccomp.compile_profile(emulate_root=False) is first


@pytest.mark.parametrize("arch", TABLES)
@pytest.mark.parametrize("emulate_root", [False, True])
def test_what_is_kept_ready_is_what_would_be_assembled(arch: str, emulate_root: bool) -> None:
    ready = seccomp.read_filter(arch, caps=RUN_CAPABILITIES, emulate_root=emulate_root)
    profile = seccomp.read_profile()
    program = seccomp.assemble(profile, TABLES[arch], arch=arch, caps=RUN_CAPABILITIES, emulate_root=emulate_root)
    assert ready == program, "the filter was changed: python3 scripts/filters.py"
    assert len(os.listdir(seccomp.FILTERS)) == 4
    assert seccomp.compile_profile(emulate_root=emulate_root, caps=RUN_CAPABILITIES, arch=arch) == program
    assert seccomp.read_filter(arch, caps=RUN_CAPABILITIES | {"SYS_ADMIN"}, emulate_root=emulate_root) is None


def _time_assembly(profile: seccomp.Profile) -> float:
    start = time.perf_counter()
    seccomp.assemble(profile, X86_64, arch="x86_64", caps=frozenset(), emulate_root=False)
    return time.perf_counter() - start


def test_a_tree_too_long_for_short_jumps() -> None:
    rules = [
        {"why": "w", "action": "ALLOW", "names": [name], "arguments": [{"index": 0, "any_of": [str(n), str(n + 9)]}]}
        for n, name in enumerate(X86_64)
    ]
    profile = seccomp.Profile(json.dumps({"default": "ENOSYS", "rules": rules}).encode())
    program = seccomp.assemble(profile, X86_64, arch="x86_64", caps=frozenset(), emulate_root=False)
    arch = seccomp.AUDIT_ARCH["x86_64"]
    for n, name in enumerate(X86_64):
        assert run_bpf(program, X86_64[name], n, arch=arch) == ALLOW
        assert run_bpf(program, X86_64[name], n + 1, arch=arch) == fails(errno.ENOSYS)


def test_hot_path_imports_little() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import carboy.linux.seccomp as s, carboy.linux.capabilities;"
        "s.compile_profile(emulate_root=True, arch='x86_64'); print(*sorted(sys.modules))"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(seccomp.__file__))))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, source], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"json", "re", "enum", "typing", "dataclasses", "pathlib", "inspect"}


# --- what the kernel does -----------------------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def in_filtered_child(action: Callable[[], object], *, emulate_root: bool = False) -> str:
    """Return the text of what ``action`` returns in a child under the filter; of its death by a signal otherwise."""
    program = seccomp.compile_profile(emulate_root=emulate_root)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            seccomp.load(program)
            os.write(write_fd, str(action()).encode())
        except BaseException as error:  # noqa: BLE001
            os.write(write_fd, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    answer = os.read(read_fd, 65_536).decode()
    os.close(read_fd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return answer if code == 0 else f"exit {code}"


def call(name: str, *arguments: int) -> Callable[[], str]:
    def action() -> str:
        number = TABLES[os.uname().machine][name]
        result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
        return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]

    return action


@pytest.mark.skipif(os.uname().machine not in TABLES, reason="carboy makes no sandboxes on this machine")
class TestKernel:
    def test_status_says_filtered(self) -> None:
        def look() -> str:
            with open("/proc/self/status", encoding="utf-8") as file:
                lines = dict(line.split(":\t") for line in file.read().splitlines() if ":\t" in line)
            return f"{lines['Seccomp']} {lines['NoNewPrivs']}"

        assert in_filtered_child(look) == "2 1"

    def test_a_shell_and_an_interpreter_run(self) -> None:
        assert in_filtered_child(lambda: os.system("true | cat >/dev/null")) == "0"
        program = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
        arguments = [sys.executable, "-c", program]
        assert in_filtered_child(lambda: os.spawnv(os.P_WAIT, sys.executable, arguments)).strip() == "0"

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("unshare", (0x10000000,)),
            ("clone", (0x10000000 | 17,)),
            ("reboot", (0, 0, 0)),
            ("init_module", (0, 0, 0)),
            ("swapon", (0, 0)),
            ("keyctl", (0, 0)),
            ("io_uring_setup", (1, 0)),
            ("settimeofday", (0, 0)),
            ("ioctl", (0, 0x5412, 0)),
            ("socket", (2, 3, 1)),
            ("socket", (17, 3, 0)),
        ],
    )
    def test_refused(self, name: str, arguments: tuple[int, ...]) -> None:
        assert in_filtered_child(call(name, *arguments)) == "EPERM"

    def test_unknown(self) -> None:
        assert in_filtered_child(call("clone3", 0, 0)) == "ENOSYS"
        assert in_filtered_child(call("socket", 38, 5, 0)) == "EAFNOSUPPORT"

    def test_ordinary(self) -> None:
        assert in_filtered_child(call("socket", 2, 1, 0)) == "ok"
        assert in_filtered_child(call("unshare", 0x400)) == "ok"
        assert in_filtered_child(call("getpid")) == "ok"

    def test_root_is_emulated(self) -> None:
        assert in_filtered_child(call("setgroups", 99, 0), emulate_root=True) == "ok"
        assert in_filtered_child(lambda: os.chown("/proc/self/missing", 5, 5), emulate_root=True) == "None"
        assert in_filtered_child(lambda: (os.setresuid(7, 7, 7), os.getuid())[1], emulate_root=True) == str(os.getuid())

    @pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is of x86")
    def test_32_bit_calls_are_killed(self) -> None:
        def call_int80() -> int:
            import mmap

            # mov eax, 20 (getpid); int 0x80; ret
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            result: int = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
            return result

        assert in_filtered_child(call_int80) == "exit -31"

    def test_a_program_that_the_kernel_refuses_is_an_error(self) -> None:
        def load_rubbish() -> str:
            try:
                seccomp.load(b"\xff" * 8)
            except OSError as error:
                return errno.errorcode[error.errno or 0]
            return "loaded"

        assert in_filtered_child(load_rubbish) == "EINVAL"

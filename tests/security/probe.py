"""Runs inside a sandbox and answers, for each assertion, whether it holds and what was seen. No imports of carboy's.

Facts of the harness come as JSON in the first argument; the answers go to standard output as JSON:
{"number": [holds, "what was seen"]}.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import stat
import sys

FACTS = json.loads(sys.argv[1])
NUMBERS = FACTS["numbers"]
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ANSWERS: dict[int, tuple[bool, str]] = {}
REFUSED = {errno.EPERM, errno.EACCES}


def answer(number: int, holds: object, seen: object = "") -> None:
    before = ANSWERS.get(number, (True, ""))
    ANSWERS[number] = (before[0] and bool(holds), f"{before[1]} {seen}".strip()[:300])


def call(name: str, *arguments: object) -> int:
    """Make a system call; returns 0 or the error's number."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if LIBC.syscall(ctypes.c_long(NUMBERS[name]), *wide) >= 0:
        return 0
    return ctypes.get_errno()


def refused(number: int, name: str, *arguments: object, also: tuple[int, ...] = ()) -> None:
    code = call(name, *arguments)
    answer(number, code in {errno.EPERM, *also}, f"{name}={errno.errorcode.get(code, code)}")


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def is_empty(path: str) -> tuple[bool, str]:
    try:
        found = os.listdir(path) if os.path.isdir(path) else read(path)
    except OSError as error:
        return True, f"{path}: {error.strerror}"
    return not found, f"{path}: {found[:60]!r}"


def is_unwritable(path: str) -> tuple[bool, str]:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError as error:
        return True, f"{path}: {error.strerror}"
    os.close(fd)
    return False, f"{path} can be opened for writing"


STATUS = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())


def probe_process() -> None:
    answer(1, STATUS["NoNewPrivs"].strip() == "1")
    answer(2, STATUS["Seccomp"].strip() == "2")
    sets = {key: int(STATUS[key], 16) for key in ("CapInh", "CapAmb", "CapBnd", "CapEff")}
    answer(3, sets["CapInh"] == 0)
    answer(4, sets["CapAmb"] == 0)
    answer(5, sets["CapBnd"] & ~0xA80425FB == 0, f"{sets['CapBnd']:x}")
    answer(6, sets["CapEff"] & ~sets["CapBnd"] == 0, f"{sets['CapEff']:x}")
    folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    held = sorted({int(name) for name in os.listdir(folder)} - {folder})
    os.close(folder)
    held = [fd for fd in held if is_open(fd)]
    answer(7, held == [0, 1, 2], held)
    for fd in (0, 1, 2):
        mode, link = os.fstat(fd).st_mode, os.readlink(f"/proc/self/fd/{fd}")
        answer(8, stat.S_ISFIFO(mode) or link == "/dev/null" or link.startswith("/dev/pts/"), link)
    answer(9, os.getcwd().startswith("/") and "unreachable" not in os.readlink("/proc/self/cwd"), os.getcwd())
    answer(10, read("/proc/self/uid_map").split() != ["0", "0", "4294967295"], read("/proc/self/uid_map").split())
    answer(11, STATUS["Groups"].split() == FACTS["groups"], STATUS["Groups"])
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    # Beside a process of `exec` there is the container's own.
    answer(12, pids == {1, os.getpid(), *FACTS.get("beside", ())}, pids)
    answer(13, os.getppid() in (0, 1) and read("/proc/1/comm") == "carboy-init\n", os.getppid())
    for number, name in enumerate(("mnt", "pid", "net", "ipc", "uts", "user", "cgroup"), start=14):
        mine = os.readlink(f"/proc/self/ns/{name}")
        answer(number, mine != FACTS["namespaces"][name], mine)
    answer(69, resource.getrlimit(resource.RLIMIT_CORE) == (0, 0))
    canary = FACTS["environment"]
    answer(70, canary not in str(os.environ))
    try:
        answer(70, canary not in read("/proc/1/environ"))
    except OSError as error:
        answer(70, True, error.strerror)
    answer(
        76, all(line.endswith(":/") for line in read("/proc/self/cgroup").splitlines()), read("/proc/self/cgroup")[:80]
    )


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def probe_mounts() -> None:
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        optional = fields[6 : fields.index("-")]
        if fields[4] == "/":
            answer(21, not [item for item in optional if item.startswith(("master:", "shared:"))], optional)
        if fields[4] == "/proc":
            answer(22, {"nosuid", "nodev", "noexec"} <= set(fields[5].split(",")), fields[5])
    allowed = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "ptmx",
        "pts",
        "shm",
    }
    answer(23, set(os.listdir("/dev")) <= {*allowed, "mqueue", "console"}, sorted(set(os.listdir("/dev")) - allowed))
    names = ("kcore", "keys", "timer_list", "sched_debug", "interrupts", "latency_stats")
    for number, name in enumerate(names, start=24):
        answer(number, *is_empty(f"/proc/{name}"))
    answer(30, *is_empty("/sys/firmware"))
    answer(31, *is_empty("/proc/acpi"))
    answer(32, *is_empty("/proc/scsi"))
    answer(33, *is_empty("/sys/devices/virtual/powercap"))
    answer(34, *is_empty("/proc/asound"))
    answer(35, *is_unwritable("/proc/sysrq-trigger"))
    answer(36, *is_unwritable("/proc/sys/kernel/core_pattern"))
    answer(37, *is_unwritable("/proc/sys/kernel/modprobe"))
    answer(38, *is_unwritable("/proc/sys/vm/drop_caches"))
    answer(39, *is_unwritable("/sys/kernel/uevent_helper"))
    answer(39, *is_unwritable("/proc/sys/kernel/hotplug"))
    start = int(read("/proc/self/oom_score_adj"))
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(start - 1))
        answer(40, start == -1000, f"{start} lowered")
    except OSError as error:
        answer(40, True, error.strerror)
    folder = "/proc/irq"
    answer(41, not os.access(folder, os.W_OK) and os.statvfs(folder).f_flag & os.ST_RDONLY)
    answer(42, True)
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        for name in {"release_agent", "cgroup.procs", "devices.allow"} & set(files):
            answer(42, *is_unwritable(f"{folder}/{name}"))
    answer(78, not os.path.isdir("/sys") or os.statvfs("/sys").f_flag & os.ST_RDONLY)


def probe_calls() -> None:
    text, zero = ctypes.c_char_p, ctypes.c_char_p(None)
    buffer = ctypes.create_string_buffer(256)
    refused(43, "mount", text(b"t"), text(b"/tmp"), text(b"tmpfs"), 0, zero)
    refused(44, "unshare", 0x10000000)
    for path in (b"/proc/keys", b"/proc/kcore", b"/sys/firmware"):
        refused(45, "umount2", text(path), 0, also=(errno.EINVAL,))
    try:
        os.mknod("/tmp/block", 0o60666, os.makedev(8, 0))
        os.close(os.open("/tmp/block", os.O_RDONLY))
        answer(46, False, "a block device was made and opened")
    except OSError as error:
        answer(46, True, error.strerror)
    refused(47, "keyctl", 0, -3, 0)
    refused(48, "add_key", text(b"user"), text(b"x"), text(b"y"), 1, -3)
    refused(48, "request_key", text(b"user"), text(b"x"), zero, -3)
    refused(49, "bpf", 0, buffer, 128)
    refused(50, "io_uring_setup", 1, buffer)
    refused(51, "userfaultfd", 0)
    refused(52, "perf_event_open", buffer, 0, -1, -1, 0)
    refused(53, "kexec_load", 0, 0, 0, 0x7FFFFFFF)
    refused(54, "init_module", zero, 0, text(b""))
    refused(55, "reboot", 1, 2, 3, 0)
    refused(56, "syslog", 3, buffer, 100)
    refused(57, "swapon", zero, 0)
    refused(58, "open_by_handle_at", -100, buffer, 0)
    refused(59, "fanotify_init", 0, 0)
    refused(60, "settimeofday", buffer, zero)
    refused(60, "adjtimex", ctypes.create_string_buffer(b"\x01" + bytes(255), 256))
    refused(61, "fsopen", text(b"tmpfs"), 0)
    refused(61, "open_tree", -100, text(b"/"), 1)
    refused(61, "move_mount", -100, text(b"/tmp"), -100, text(b"/tmp"), 0)
    refused(62, "process_vm_readv", 1, buffer, 1, buffer, 1, 0)
    refused(62, "pidfd_getfd", 0, 0, 0)
    refused(63, "pivot_root", text(b"/"), text(b"/"))
    refused(64, "acct", zero)
    refused(64, "quotactl", 0, zero, 0, zero)
    code = call("clone3", buffer, 64)
    answer(79, code == errno.ENOSYS, errno.errorcode.get(code, code))


def probe_sockets() -> None:
    for number, family, kind, protocol in (
        (65, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        (66, 17, socket.SOCK_RAW, 0x300),
        (67, 40, socket.SOCK_STREAM, 0),
        (68, 38, socket.SOCK_SEQPACKET, 0),
    ):
        try:
            socket.socket(family, kind, protocol).close()
            answer(number, False, "a socket was made")
        except OSError as error:
            answer(number, True, error.strerror)
    answer(71, "@" not in read("/proc/net/unix"), read("/proc/net/unix")[:200])
    names = (
        "docker.sock",
        "containerd/containerd.sock",
        "podman/podman.sock",
        "crio/crio.sock",
        "carboy.sock",
        "carboy",
    )
    places = [f"{run}/{name}" for run in ("/run", "/var/run") for name in names]
    answer(72, not any(map(os.path.lexists, places)))
    answer(73, [name for _, name in socket.if_nameindex()] == ["lo"], socket.if_nameindex())


def probe_host() -> None:
    canary = FACTS["canary"]
    heads = ["", "/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/cwd", "/proc/self/cwd/../../.."]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            heads += [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
    seen = [head for head in heads if os.path.exists(head + canary)]
    answer(74, not seen, seen)
    try:
        label = read("/proc/self/attr/current").strip("\0\n ")
    except OSError:
        label = ""
    answer(75, label not in ("", "unconfined"), label or "no security module")
    answer(77, len(read("/proc/sysvipc/shm").splitlines()) == 1 and not os.listdir("/dev/mqueue"))
    pid = os.fork()
    if pid == 0:
        if FACTS["many_ids"]:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
        os.execv("/setuid-id", ["/setuid-id", "-u"])
    _, status = os.waitpid(pid, 0)
    answer(80, status == 0)
    answer(80, read("/proc/self/setgroups") == "deny\n", read("/proc/self/setgroups").strip())


for group in (probe_process, probe_mounts, probe_calls, probe_sockets, probe_host):
    group()
sys.stdout.write(json.dumps(ANSWERS) + "\n")

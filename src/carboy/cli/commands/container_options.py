"""The options of ``run`` and ``create``: words to a ``RunRequest``.

Written by hand because `argparse` takes longer to import than the sandbox takes to start.
"""

from __future__ import annotations

import os

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.containers.request import RunRequest

HELP = """
  -d, --detach              leave it running, and print its id
      --name NAME           its name (default: one is made up)
      --rm                  remove it when it ends
  -i, --interactive         pass standard input on
  -t, --tty                 give the program a terminal
  -e, --env NAME[=VALUE]    set a variable (without VALUE: take the caller's)
      --env-file FILE       set the variables of a file, one NAME=VALUE a line
  -w, --workdir DIR         the directory to start in
  -u, --user USER[:GROUP]   the user to run as;  --group-add GROUP: one more group
      --entrypoint PROGRAM  replace the image's entry point
  -h, --hostname NAME       the container's host name
  -l, --label NAME=VALUE    note something about it
      --restart POLICY      no, always, unless-stopped, on-failure[:TIMES]
      --stop-signal SIGNAL, --stop-timeout SECONDS
      --runtime NAME        native, runc, crun or runsc

files
  -v, --volume FROM:TO[:ro] a folder of the host, or a volume by name;  TO alone: a new volume
      --mount type=...,...  the same in Docker's long form
      --data-ref IMAGE[:DIR]  the data of another image, for reading, where that image has them (docs/data.md)
      --tmpfs DIR[:size=..] a file system in memory
      --read-only           make the root file system read-only
      --secret SOURCE[:NAME]  a file of the host's at /run/secrets/NAME, in memory, for reading
      --device FILE[:FILE]  a device of the host's

network
      --network NAME        private (a network of its own with a way out; the default where it can be had, else none),
                            none, host, or one that `carboy network create` made; may be repeated;
                            name=NAME,alias=NAME,ip=IP in one word
      --network-alias NAME  one more name on that network;  --ip IP: the address to have there
  -p, --publish [IP:][HOST:]PORT[/udp]  reach a port from the host, on 127.0.0.1 unless IP says more
  -P, --publish-all         publish what the image exposes
      --add-host NAME:IP, --dns IP

limits
  -m, --memory SIZE, --memory-swap SIZE, --memory-reservation SIZE, --shm-size SIZE
      --cpus NUMBER, --cpu-shares NUMBER, --cpuset-cpus LIST, --pids-limit NUMBER, --blkio-weight NUMBER
      --ulimit NAME=SOFT[:HARD], --oom-score-adj NUMBER
      --log-opt max-size=SIZE|max-file=COUNT, --log-driver none

security
      --cap-add NAME, --cap-drop NAME, --security-opt OPTION, --sysctl NAME=VALUE
      --gpus all|NUMBER|device=NAME,...  by the machine's CDI specifications; --device VENDOR/CLASS=NAME

record (docs/runs.md)
      --record                  keep a record of what ran: `carboy runs`, `carboy rerun`
      --seed NUMBER             what the program gets as CARBOY_SEED and PYTHONHASHSEED (default: a new one each time)
      --output PATH             a file or folder of the container's that is a result, besides what changes in mounts

health
      --health-cmd COMMAND, --health-interval TIME, --health-timeout TIME, --health-start-period TIME
      --health-start-interval TIME, --health-retries NUMBER, --no-healthcheck

  -q, --quiet               do not show the build
      --offline             build a folder without asking anybody: of what is here, or of --bundle FILE (docs/offline.md)"""

FLAGS = {
    "-i": "interactive", "--interactive": "interactive", "-t": "terminal", "--tty": "terminal", "--rm": "auto_remove",
    "--read-only": "read_only", "-q": "quiet", "--quiet": "quiet", "-d": "detach", "--detach": "detach",
    "-P": "publish_all", "--publish-all": "publish_all", "--init": "init", "--no-healthcheck": "no_health",
    "--privileged": "privileged", "--record": "record", "--offline": "offline",
}  # fmt: skip
TEXTS = {
    "-w": "workdir", "--workdir": "workdir", "-u": "user", "--user": "user", "--entrypoint": "entrypoint",
    "-h": "hostname", "--hostname": "hostname", "--name": "name", "--ip": "ip",
    "--restart": "restart", "--stop-signal": "stop_signal", "--stop-timeout": "stop_timeout_s",
    "--runtime": "runtime", "--health-cmd": "health_cmd", "--health-interval": "health_interval",
    "--health-timeout": "health_timeout", "--health-start-period": "health_start",
    "--health-start-interval": "health_start_interval", "--health-retries": "health_retries",
    "--log-driver": "log_driver", "--cidfile": "cidfile", "--pull": "pull", "--platform": "platform", "--gpus": "gpus",
    "--pid": "pid", "--ipc": "ipc", "--uts": "uts", "--userns": "userns", "--cgroupns": "cgroupns",
    "--seed": "seed", "--bundle": "bundle",
}  # fmt: skip
LISTS = {
    "-p": "publish", "--publish": "publish", "--add-host": "add_hosts", "--dns": "dns", "--device": "devices",
    "--cap-add": "cap_add", "--cap-drop": "cap_drop", "--security-opt": "security", "--group-add": "groups",
    "--network-alias": "network_aliases", "--net-alias": "network_aliases", "--log-opt": "log_opt",
    "--network": "networks", "--net": "networks", "--output": "outputs",
}  # fmt: skip
PAIRS = {"-l": "labels", "--label": "labels", "--sysctl": "sysctls"}
MOUNTS = {
    "-v": "volume", "--volume": "volume", "--mount": "mount", "--tmpfs": "tmpfs", "--secret": "secret", "--data-ref": "data",
}  # fmt: skip
LIMITS = {
    "-m": "memory", "--memory": "memory", "--memory-swap": "memory-swap", "--memory-reservation": "memory-reservation",
    "--shm-size": "shm-size", "--cpus": "cpus", "--cpu-shares": "cpu-shares", "-c": "cpu-shares",
    "--cpuset-cpus": "cpuset-cpus", "--cpuset-mems": "cpuset-mems", "--pids-limit": "pids-limit",
    "--blkio-weight": "blkio-weight", "--ulimit": "ulimit", "--oom-score-adj": "oom-score-adj",
}  # fmt: skip


class Options:
    """What one command line of ``run`` or ``create`` says."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.texts: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        self.pairs: dict[str, list[tuple[str, str]]] = {}
        self.mounts: list[tuple[str, str]] = []
        self.limits: list[tuple[str, str]] = []
        self.env: list[str] = []
        self.target = ""
        self.arguments: list[str] = []

    @property
    def is_recorded(self) -> bool:
        """Whether the run is to be recorded, or an option is there that only recorded runs have."""
        return "record" in self.flags or "seed" in self.texts or "outputs" in self.lists

    def request(self, *, network: str | None) -> RunRequest:
        """Return the request; ``network`` is what the folder asks for, when it is one."""
        from carboy.engine.containers.request import RunRequest

        texts = self.texts
        self._refuse()
        values: dict[str, Any] = {}
        for name in ("workdir", "user", "hostname", "name", "restart", "stop_signal", "runtime"):
            if name in texts:
                values[name] = texts[name]
        if "entrypoint" in texts:
            values["entrypoint"] = (texts["entrypoint"],)
        if "stop_timeout_s" in texts:
            values["stop_timeout_s"] = parse_count("--stop-timeout", texts["stop_timeout_s"])
        for name in ("interactive", "terminal", "auto_remove", "read_only", "publish_all"):
            values[name] = name in self.flags
        for name in (
            "publish",
            "add_hosts",
            "dns",
            "devices",
            "cap_add",
            "cap_drop",
            "security",
            "groups",
        ):
            values[name] = tuple(self.lists.get(name, ()))
        if "gpus" in texts:
            from carboy.runtime.cdi import parse_gpus

            values["devices"] += parse_gpus(texts["gpus"])
        for name in ("labels", "sysctls"):
            values[name] = tuple(self.pairs.get(name, ()))
        if "no_health" in self.flags or any(name.startswith("health_") for name in texts):
            values["health"] = self._health()
        values.update(self._log())
        values.update(self._networks(network))
        return RunRequest(
            arguments=tuple(self.arguments),
            env=tuple(self.env),
            mounts=tuple(self.mounts),
            limits=tuple(self.limits),
            **values,
        )

    def _networks(self, default: str | None) -> dict[str, Any]:
        """Return the networks, the first of which is the one that --network-alias and --ip speak of."""
        found = [parse_network(text) for text in self.lists.get("networks", ()) if text]
        aliases, ip = tuple(self.lists.get("network_aliases", ())), self.texts.get("ip", "")
        if not found:
            if ip:
                raise CarboyError("--ip needs --network", hint="name the network that has the address", code=2)
            return {"network": default, "network_aliases": aliases}
        (name, own_aliases, own_ip), *more = found
        return {
            "network": name,
            "network_aliases": own_aliases + aliases,
            "more_networks": tuple((other, *names) for other, names, _ in more),
            "network_ips": tuple(
                (other, address) for other, address in ((name, ip or own_ip), *((o, a) for o, _, a in more)) if address
            ),
        }

    def _refuse(self) -> None:
        """Raise ``CarboyError`` (125) for what would share the host's namespaces, or its privileges."""
        shared = [name for name in ("pid", "ipc", "uts", "userns", "cgroupns") if name in self.texts]
        if shared or "privileged" in self.flags:
            from carboy.engine.containers.options.security import check_namespace, refuse_privileged

            for name in shared:
                check_namespace(name, self.texts[name])
            if "privileged" in self.flags:
                raise refuse_privileged()

    def _health(self) -> tuple[str, ...]:
        if "no_health" in self.flags:
            return ()
        texts = self.texts
        if "health_cmd" not in texts:
            raise CarboyError("the health options need --health-cmd", hint="say what checks the container", code=2)
        times = [
            str(parse_duration(texts.get(f"health_{name}", default)))
            for name, default in (("interval", "30s"), ("timeout", "30s"), ("start", "0s"), ("start_interval", "5s"))
        ]
        retries = str(parse_count("--health-retries", texts.get("health_retries", "3")))
        return (*times, retries, "/bin/sh", "-c", texts["health_cmd"])

    def _log(self) -> dict[str, int]:
        driver = self.texts.get("log_driver", "json-file")
        if driver == "none":
            return {"log_bytes": 0}
        if driver not in {"json-file", "local", "k8s-file"}:
            raise CarboyError(
                f"there is no log driver {driver}", hint="carboy keeps logs in files; or use none", code=2
            )
        values = {}
        for option in self.lists.get("log_opt", ()):
            name, _, text = option.partition("=")
            if name == "max-size":
                values["log_bytes"] = parse_size(text)
            elif name == "max-file":
                values["log_files"] = parse_count("--log-opt max-file", text)
            else:
                raise CarboyError(f"there is no log option {name}", hint="use max-size or max-file", code=2)
        return values


def read_offline(options: Options) -> OfflineSource | None:
    """Return what a folder is built of without a network, None for a build that has one. Raises ``CarboyError`` (2)."""
    bundle = options.texts.get("bundle", "")
    if "offline" not in options.flags:
        if bundle:
            raise CarboyError("--bundle is for a build without a network", hint="add --offline", code=2)
        return None
    from carboy.engine.builds.offline import OfflineSource

    return OfflineSource(bundle=bundle)


def parse_options(verb: str, words: list[str]) -> Options:
    """Return what the words after ``run`` or ``create`` say. Raises ``CarboyError`` with code 2 for a wrong one."""
    options = Options()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        if name in FLAGS:
            if value not in {"", "true", "false"}:
                hint = f"write {name} alone"
                raise CarboyError(f"the option {name} is true or false, not {value}", hint=hint, code=2)
            if value != "false":
                options.flags.add(FLAGS[name])
            continue
        if not word.startswith("--") and len(word) > 2:
            name, has_value, value = _split_short(options, word)
            if not name:
                continue
        if not _takes_value(name):
            raise CarboyError(f"{verb} has no option {name}", hint=f"`carboy {verb} --help` lists them", code=2)
        if not has_value:
            if not rest:
                raise CarboyError(
                    f"the option {name} needs a value", hint=f"`carboy {verb} --help` shows which", code=2
                )
            value = rest.pop(0)
        _set_value(options, name, value)
    if rest and rest[0] == "--":
        rest.pop(0)
    if not rest:
        raise CarboyError(f"say what to {verb}: a folder or an image", hint=f"for example: carboy {verb} .", code=2)
    options.target, options.arguments = rest[0], rest[1:]
    if options.arguments[:1] == ["--"]:
        options.arguments.pop(0)
    return options


def _takes_value(name: str) -> bool:
    return any(name in table for table in (TEXTS, LISTS, PAIRS, MOUNTS, LIMITS)) or name in {
        "-e",
        "--env",
        "--env-file",
    }


def _split_short(options: Options, word: str) -> tuple[str, str, str]:
    """Take short options that are written together (-it, -p80:80); returns the one that wants a value, "" when none does."""
    for index, letter in enumerate(word[1:], start=1):
        name = f"-{letter}"
        if name in FLAGS:
            options.flags.add(FLAGS[name])
            continue
        value = word[index + 1 :].removeprefix("=")
        return name, "=" if value else "", value
    return "", "", ""


def _set_value(options: Options, name: str, value: str) -> None:
    if "\0" in value:
        raise CarboyError(f"the value of {name} holds a NUL byte", code=2)
    if name in TEXTS:
        options.texts[TEXTS[name]] = value
    elif name in LISTS:
        options.lists.setdefault(LISTS[name], []).append(value)
    elif name in PAIRS:
        key, _, text = value.partition("=")
        options.pairs.setdefault(PAIRS[name], []).append((key, text))
    elif name in MOUNTS:
        options.mounts.append((MOUNTS[name], value))
    elif name in LIMITS:
        options.limits.append((LIMITS[name], value))
    elif name == "--env-file":
        options.env += read_env_file(value)
    else:
        options.env += read_variables([value], option="--env")


def read_variables(texts: Sequence[str], *, option: str) -> list[str]:
    """Return variables (NAME=VALUE); one without a value has the caller's, and is left out when the caller has none.

    Raises ``CarboyError`` (2) for what has no name, with the ``option`` to write.
    """
    found = []
    for text in texts:
        name, has_value, _ = text.partition("=")
        if not name:
            raise CarboyError(f"{text!r} is not NAME=VALUE", hint=f"write {option} NAME=VALUE", code=2)
        if has_value or name in os.environ:
            found.append(text if has_value else f"{name}={os.environ[name]}")
    return found


def read_env_file(path: str) -> list[str]:
    """Return the variables of a file of NAME=VALUE lines, as Docker reads it: no quotes, `#` begins a comment line."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CarboyError(
            f"the file {path} cannot be read", details=str(error), hint="check --env-file", code=125
        ) from error
    found = []
    for line in lines:
        text = line.lstrip()
        if text and not text.startswith("#"):
            name = text.partition("=")[0]
            if not name or name != name.strip() or " " in name:
                raise CarboyError(f"{path}: {text!r} is not NAME=VALUE", hint="a name holds no blanks", code=125)
            found += read_variables([text], option="--env")
    return found


def parse_network(text: str) -> tuple[str, tuple[str, ...], str]:
    """Return (name, further names, address) of one --network: a name, or Docker's name=NAME,alias=NAME,ip=IP."""
    if "=" not in text:
        return text, (), ""
    name, aliases, ip = "", [], ""
    for field in text.split(","):
        key, _, value = field.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            aliases.append(value)
        elif key == "ip":
            ip = value
        else:
            hint = "write NAME, or name=NAME,alias=NAME,ip=IP"
            raise CarboyError(f"--network has no field {key}", hint=hint, code=2)
    if not name:
        raise CarboyError(f"--network {text} names no network", hint="write name=NAME,alias=NAME,ip=IP", code=2)
    return name, tuple(aliases), ip


def parse_count(option: str, text: str) -> int:
    """Return a whole number; raises ``CarboyError`` (2) for anything else."""
    try:
        return int(text)
    except ValueError:
        raise CarboyError(f"{option} takes a whole number, not {text!r}", code=2) from None


def parse_size(text: str) -> int:
    """Return a size in bytes: a number with b, k, m, g or t behind it, in powers of 1024 as Docker's options have it."""
    units = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    lower = text.lower().removesuffix("ib") if text.lower().endswith("ib") else text.lower()
    if len(lower) > 1 and lower.endswith("b") and lower[-2] in units:
        lower = lower[:-1]
    unit = units.get(lower[-1:], 0)
    try:
        size = float(lower[:-1]) * unit if unit else float(lower)
    except ValueError:
        size = -1.0
    if not 0 <= size < 2**63:
        raise CarboyError(f"{text!r} is no size", hint="write a number and b, k, m, g or t: 512m", code=2)
    return int(size)


_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return a time span in seconds from Docker's form: 90s, 1m30s, 500ms; a bare number is seconds."""
    rest, total = text, 0.0
    if text.replace(".", "", 1).isdigit():
        return float(text)
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = rest[digits : digits + 2] if rest[digits : digits + 2] in _UNITS_S else rest[digits : digits + 1]
        if not digits or unit not in _UNITS_S:
            raise CarboyError(f"{text!r} is no time span", hint="write it as 90s, 1m30s or 500ms", code=2)
        total += float(rest[:digits]) * _UNITS_S[unit]
        rest = rest[digits + len(unit) :]
    return total

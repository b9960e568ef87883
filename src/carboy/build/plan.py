"""From facts to the steps of a build, each with its reason: pure. What is planned here is what is carried out."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.canonical import digest_json
from carboy.bootstrap.distributions import find_distribution
from carboy.build.folder.binder import PostBuildStep, plan_post_build, wrap_command
from carboy.build.folder.foreign import check_languages, explain_lock, find_foreign, name_machine
from carboy.build.folder.pythons import fits_python, list_asked
from carboy.build.folder.variables import plan_variables
from carboy.build.r import (
    CORE,
    IGNORED,
    RS,
    choose_r_command,
    choose_r_packages,
    explain_r,
    find_r_start,
    find_r_suites,
)
from carboy.build.settings import Settings, parse_procfile, parse_settings
from carboy.environments.conda.wants import PREFIX, SUBDIRS
from carboy.environments.detect.requirements import strip_hashes
from carboy.environments.lockfile import NAME as LOCK_NAME
from carboy.environments.lockfile import LockFile, parse_lockfile
from carboy.errors import CarboyError
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.project import ProjectFacts
    from carboy.environments.conda.wants import CondaWants
    from carboy.environments.detect.wants import Wants
    from carboy.environments.r.wants import RPackage, RWants

FORMAT = 1
APP = "/app"
# Debian's Python by suite: the version that an image has is its distribution's own.
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
DEFAULT_SUITE = "bookworm"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OBVIOUS = ("main.py", "__main__.py", "app.py", "run.py")
_ALWAYS_IGNORED = (
    ".git",
    "__pycache__",
    ".venv",
    "venv",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    "*.pyc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseStep:
    """Make or take a base from a distribution's signed archive."""

    base: str
    packages: tuple[str, ...]
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        extra = f" with {', '.join(self.packages)}" if self.packages else ""
        return f"base {self.base}{extra}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaStep:
    """Choose, fetch and link conda's packages: see ``environments.conda.wants.CondaWants``; ``packages`` are lines of a lock."""

    specs: tuple[str, ...]
    channels: tuple[str, ...]
    packages: tuple[str, ...]
    reason: str
    constraints: tuple[str, ...] = ()
    skipped_scripts: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        count = len(self.packages or self.specs)
        return f"install {count} package{'' if count == 1 else 's'} of conda's into /opt/conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentStep:
    """Resolve and install Python packages: see ``environments.detect.wants.Wants``.

    ``above_conda`` says that they are for conda's Python, which has packages of its own; ``beside``, that the image has packages
    of another kind, too. ``tools`` are, by package, lines of a carboy.lock: what is built with what.
    """

    requirements: str
    constraints: str
    allowed: str
    reason: str
    above_conda: bool = False
    beside: bool = False
    tools: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        count = sum(1 for line in self.requirements.splitlines() if re.match(r"\s*[A-Za-z0-9]", line))
        return f"install {count} requirement{'' if count == 1 else 's'} into /opt/env"


@dataclass(frozen=True, slots=True, kw_only=True)
class RStep:
    """Find and install R packages; ``distribution``: in the distribution's versions, whatever was locked.

    ``hashes`` are those that a carboy.lock has of sources, a line of name, version and hash for each.
    """

    packages: tuple[RPackage, ...]
    distribution: bool
    reason: str
    hashes: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"install {len(self.packages)} R package{'' if len(self.packages) == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsStep:
    """Install tools of carboy's choice into a place of their own, and what carboy has them do (``build.workbench``).

    ``above_conda``: conda's Python runs them. ``kernels`` are those that notebooks can have, by Jupyter's names.
    """

    requirements: str
    reason: str
    kernels: tuple[str, ...] = ("python3",)
    above_conda: bool = False

    @property
    def what(self) -> str:
        """The step in a few words."""
        names = [re.split(r"[^\w-]", line)[0] for line in self.requirements.splitlines()]
        return f"tools beside it: {', '.join(names)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataStep:
    """Put the folder's data into layers of their own (``data``)."""

    target: str
    paths: tuple[str, ...]
    ignore: tuple[str, ...]
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"data {', '.join(self.paths)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesStep:
    """Put the folder's files into the image, but for those ``apart``, which are data."""

    target: str
    ignore: tuple[str, ...]
    reason: str
    apart: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"files to {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigStep:
    """Say what runs, where, and with which environment; ``data`` are the paths of data, for whoever wants them elsewhere."""

    command: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    reason: str
    data: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"command {' '.join(self.command)}" if self.command else "no command"


Step = BaseStep | CondaStep | EnvironmentStep | RStep | ToolsStep | DataStep | FilesStep | PostBuildStep | ConfigStep


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedStep:
    """A step for people: what, why, and the key that its definition has in the cache."""

    what: str
    reason: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a build, in order; ``folder`` is what FilesStep reads, ``network`` what a run asks for ("": nothing).

    ``inputs`` is the digest of what a lock depends on. ``locked_base`` are the base's packages that a lock names, where
    others are to be refused, ``locked_r`` those of R likewise. ``notes`` are for people. ``platform`` is what the image is for,
    None for this machine.
    """

    folder: str
    steps: tuple[Step, ...]
    network: str = ""
    inputs: str = ""
    locked_base: tuple[str, ...] = ()
    locked_r: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    platform: Platform | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in a container of it, () for nothing."""
        return next((step.command for step in self.steps if isinstance(step, ConfigStep)), ())

    def describe(self) -> list[DescribedStep]:
        """Return the steps for people; a step's key covers the steps before it."""
        result, key = [], ""
        for step in self.steps:
            key = step_key(step, parent=key)
            result.append(DescribedStep(what=step.what, reason=step.reason, key=key))
        return result


def step_key(step: Step, *, parent: str, inputs: tuple[str, ...] = ()) -> str:
    """Return the cache key of a step: its definition without the reason, what it stands on, and its inputs' digests."""
    definition = {name: value for name, value in asdict(step).items() if name != "reason"}
    value = [FORMAT, type(step).__name__, definition, parent, inputs]
    return digest_json(value)


def plan_base(base: str, *, packages: tuple[str, ...] = ()) -> Plan:
    """Return the plan of an image that is a base and nothing else."""
    steps = (
        BaseStep(base=base, packages=packages, reason="it was asked for"),
        ConfigStep(
            command=(find_distribution(base.partition(":")[0]).command,),
            env=(f"PATH={_SYSTEM_PATH}",),
            workdir="/",
            reason="a shell, as in other base images",
        ),
    )
    return Plan(folder="", steps=steps)


def plan_project(facts: ProjectFacts, *, locked: bool = False, platform: Platform | None = None) -> Plan:
    """Return the plan that turns a folder of Python into an image, for a ``platform`` (None: this machine's).

    A ``carboy.lock`` that fits decides about versions; ``locked`` refuses one that does not fit, or that there is none. Raises
    ``CarboyError`` for that, when nothing says what to run, and when what is asked for cannot be had.
    """
    settings = parse_settings(facts.texts.get("carboy.toml", ""))
    check_packagers(facts, settings)
    command, why = choose_command(facts, settings)
    conda = choose_conda_packages(facts, settings)
    wants = choose_packages(facts, settings) if conda is None else conda.pip
    r = choose_r_packages(facts, settings, only_said=conda is not None)
    foreign = find_foreign(platform)
    if foreign is not None:
        check_languages(foreign, conda=conda, r=r)
    suite, suite_why = choose_suite(facts, settings, wants, r, conda=conda)
    if foreign is not None and wants is not None:
        name_machine(foreign, base=f"debian:{suite}")
    python = conda is None and has_python(facts, settings, wants, r)
    languages = (*(("python3",) if python else ()), *((CORE,) if r is not None else ()))
    if python and r is not None:
        languages = (*languages, f"libpython{PYTHONS[suite]}")  # for R, which loads Python into itself (reticulate)
    packages = (*languages, *settings.packages, *parse_apt(facts.texts.get("apt.txt", "")))
    base = BaseStep(base=f"debian:{suite}", packages=packages, reason=suite_why)
    inputs = digest_inputs(base, wants, r, distribution=settings.r_versions == "distribution", conda=conda)
    lock, notes = choose_lock(facts.texts.get(LOCK_NAME), inputs, locked=locked)
    if lock is not None and foreign is not None:
        notes = (*notes, explain_lock(foreign, name=LOCK_NAME, locked=locked))
    if lock is not None and wants is not None:
        wants = _hold_wants(wants, lock, to_files=foreign is None)
    steps: list[Step] = [base]
    path = _SYSTEM_PATH
    if conda is not None:
        steps.append(_plan_conda(conda, settings, lock))
        path = f"{PREFIX}/bin:{path}"
    steps += _plan_environments(wants, r, settings, lock, above_conda=conda is not None)
    if wants is not None and wants.requirements:
        path = f"/opt/env/bin:{path}"
    elif conda is None:
        command = tuple("python3" if word == "python" and i == 0 else word for i, word in enumerate(command))
    ignore = _read_ignore(facts, settings)
    if settings.data:
        steps.append(DataStep(target=APP, paths=settings.data, ignore=ignore, reason="carboy.toml says so"))
    why_files = "the folder's own files, above what changes more rarely"
    steps.append(FilesStep(target=APP, ignore=ignore, reason=why_files, apart=settings.data))
    env = plan_variables(facts, settings, app=APP, path=path, python=python, conda=conda, r=r)
    command = wrap_command(facts, command, app=APP, ignore=ignore)
    variables = tuple(f"{k}={v}" for k, v in env.items())
    if (script := plan_post_build(facts, env=variables, app=APP, ignore=ignore)) is not None:
        steps.append(script)
    data = tuple(f"{APP}/{path}" for path in settings.data)
    steps.append(ConfigStep(command=command, env=variables, workdir=APP, reason=why, data=data))
    return Plan(
        folder=facts.folder,
        steps=tuple(steps),
        network=settings.network,
        inputs=inputs,
        locked_base=lock.base_packages if locked and lock is not None else (),
        locked_r=(*lock.r, *lock.r_sources) if locked and lock is not None else (),
        notes=(*notes, *(explain_r(facts, r) if conda is None else ())),
        platform=foreign,
    )


def _hold_wants(wants: Wants, lock: LockFile, *, to_files: bool) -> Wants:
    """Return what is wanted, in a lock's versions, and with ``to_files`` of its very files."""
    text = "".join(f"{line}\n" for line in lock.python)
    source = f"{wants.source} and {LOCK_NAME}"
    return replace(wants, constraints=strip_hashes(text), allowed=text if to_files else wants.allowed, source=source)


def has_python(facts: ProjectFacts, settings: Settings, wants: Wants | None, r: RWants | None) -> bool:
    """Return whether an image of the folder has Python: all have, but for those of R alone."""
    return r is None or wants is not None or bool(facts.scripts or settings.python or settings.requirements)


def _plan_conda(conda: CondaWants, settings: Settings, lock: LockFile | None) -> CondaStep:
    packages = tuple(package.line for package in conda.packages)
    return CondaStep(
        specs=() if packages else conda.specs,
        channels=() if packages else conda.channels,
        packages=packages if lock is None else lock.conda,
        reason=conda.source if lock is None else f"{conda.source} and {LOCK_NAME}",
        skipped_scripts=settings.skipped_scripts,
    )


def _plan_environments(
    wants: Wants | None, r: RWants | None, settings: Settings, lock: LockFile | None, *, above_conda: bool
) -> list[Step]:
    """Return the steps that install packages of languages."""
    steps: list[Step] = []
    if wants is not None and wants.requirements:
        steps.append(
            EnvironmentStep(
                requirements=wants.requirements,
                constraints=wants.constraints,
                allowed=wants.allowed,
                reason=wants.source,
                above_conda=above_conda,
                beside=above_conda or (r is not None and bool(r.packages)),
                tools=lock.tools if lock is not None else (),
            )
        )
    if r is not None and r.packages:
        steps.append(
            RStep(
                packages=r.packages,
                distribution=settings.r_versions == "distribution",
                reason=r.source if lock is None else f"{r.source} and {LOCK_NAME}",
                hashes=lock.r_sources if lock is not None else (),
            )
        )
    return steps


def digest_inputs(
    base: BaseStep,
    wants: Wants | None,
    r: RWants | None = None,
    *,
    distribution: bool = False,
    conda: CondaWants | None = None,
) -> str:
    """Return the digest of what a lock depends on: the base, its packages, and the packages of languages that are asked for.

    ``distribution``: the distribution's versions of R packages do.
    """
    python = ("", "", "") if wants is None else (wants.requirements, wants.constraints, wants.allowed)
    value: list[object] = [base.base, base.packages, python]
    if r is not None:
        value.append([[str(package) for package in r.packages], distribution])
    if conda is not None:
        value.append([conda.specs, conda.channels, [package.line for package in conda.packages]])
    return f"sha256:{hashlib.sha256(json.dumps(value, separators=(',', ':')).encode()).hexdigest()}"


def choose_lock(text: str | None, inputs: str, *, locked: bool) -> tuple[LockFile | None, tuple[str, ...]]:
    """Return the lock where it fits what is asked for, and notes. Raises ``CarboyError`` where ``locked`` and it does not."""
    if text is None:
        if locked:
            raise CarboyError(f"there is no {LOCK_NAME}", hint="`carboy lock` writes one")
        return None, ()
    lock = parse_lockfile(text)
    if lock.inputs == inputs:
        return lock, ()
    if locked:
        raise CarboyError(
            f"{LOCK_NAME} is out of date: the folder asks for something else than when it was locked",
            hint="`carboy lock` brings it up to date; without --locked the build goes on without it",
        )
    return None, (f"{LOCK_NAME} is out of date and not used; `carboy lock` brings it up to date",)


def choose_command(facts: ProjectFacts, settings: Settings) -> tuple[tuple[str, ...], str]:
    """Return what runs, and which file says so."""
    if settings.command:
        return settings.command, "carboy.toml says so"
    if "Procfile" in facts.texts and (command := parse_procfile(facts.texts["Procfile"])):
        return command, "the Procfile's first entry"
    scripts = sorted(name for name in facts.scripts if name != "setup.py")
    if (start := _choose_r_start(facts)) is not None:
        return start
    if len(scripts) == 1:
        return ("python", scripts[0]), "the only script"
    for name in _OBVIOUS:
        if name in facts.scripts:
            return ("python", name), f"{name} is where a project starts by custom"
    guarded = [name for name in scripts if facts.scripts[name]]
    if len(guarded) == 1:
        return ("python", guarded[0]), "the only script with a __main__ guard"
    raise _explain_no_command(facts, scripts)


def _explain_no_command(facts: ProjectFacts, scripts: Sequence[str]) -> CarboyError:
    found = (
        ", ".join(scripts)
        if scripts
        else "no script of Python or R at its top; " + (", ".join(facts.files[:20]) or "nothing at all")
    )
    hint = 'write a carboy.toml with [run] and command = ["python", "train.py"]'
    notebook = next((name for name in sorted(facts.texts) if name.endswith(".ipynb")), "")
    if notebook and not scripts:
        folder = facts.folder
        hint = (
            f"`carboy run {folder} {notebook}` executes the notebook, `carboy notebook {folder}` opens it in JupyterLab"
        )
    return CarboyError(f"nothing says what to run in {facts.folder}", details=f"found: {found}", hint=hint)


def _choose_r_start(facts: ProjectFacts) -> tuple[tuple[str, ...], str] | None:
    """Return what runs where it is R's; None where it is Python's, or cannot be seen. Raises ``CarboyError``."""
    start, python = find_r_start(facts), next((name for name in _OBVIOUS if name in facts.scripts), None)
    if start is not None and python is not None:
        raise CarboyError(
            f"both {python} and {start} are where a project starts by custom",
            hint=f'say which runs in carboy.toml: [run] command = ["Rscript", "{start}"]',
        )
    return choose_r_command(facts) if start is not None or not facts.scripts else None


def choose_suite(
    facts: ProjectFacts,
    settings: Settings,
    wants: Wants | None,
    r: RWants | None = None,
    *,
    conda: CondaWants | None = None,
) -> tuple[str, str]:
    """Return the Debian suite whose Python and R the folder asks for, and why; any suite does for conda's Python."""
    have_r, r_why = find_r_suites(facts, settings, r) if r is not None else (tuple(PYTHONS), "")
    asked = list_asked(facts, settings, wants) if conda is None else []
    for wanted, where in asked:
        fits = [suite for suite, version in PYTHONS.items() if fits_python(version, wanted, where=where)]
        if not fits:
            have = ", ".join(f"{version} ({suite})" for suite, version in PYTHONS.items())
            raise CarboyError(f"{where} asks for Python {wanted}, which no base has", hint=f"these can be had: {have}")
        for other, other_where in asked[1:]:
            fits_both = [suite for suite in fits if fits_python(PYTHONS[suite], other, where=other_where)]
            if not fits_both and any(fits_python(version, other) for version in PYTHONS.values()):
                raise CarboyError(
                    f"{where} asks for Python {wanted}, and {other_where} for {other}",
                    hint='change one of them, or say which counts in carboy.toml: [python] version = "3.11"',
                )
            fits = fits_both or fits
        both = [suite for suite in fits if suite in have_r]
        if not both:
            raise CarboyError(
                f"{where} asks for Python {wanted}, and {r_why}: no suite has both",
                details="\n".join(f"{suite} has Python {PYTHONS[suite]} and R {RS[suite]}" for suite in PYTHONS),
                hint="change one of them",
            )
        suite = DEFAULT_SUITE if DEFAULT_SUITE in both else both[-1]
        return suite, f"Python {PYTHONS[suite]}: {where} asks for {wanted}"
    suite = DEFAULT_SUITE if DEFAULT_SUITE in have_r else have_r[-1]
    if r is not None:
        return suite, f"R {RS[suite]}: {r_why}"
    if conda is not None:
        return suite, f"{conda.source} says which Python there is, on any system"
    return suite, f"Python {PYTHONS[suite]}: no version is asked for"


def choose_conda_packages(facts: ProjectFacts, settings: Settings) -> CondaWants | None:
    """Return what the folder asks of conda, None for nothing. Raises ``CarboyError`` as :func:`choose_packages`."""
    from carboy.environments.conda.choose import FILES, choose_conda

    if not any(name in facts.texts for name in (*FILES, "pyproject.toml")):
        return None
    subdir = SUBDIRS[Platform.current().architecture]
    return choose_conda(facts.texts, subdir=subdir, named=settings.requirements)


def choose_packages(facts: ProjectFacts, settings: Settings) -> Wants | None:
    """Return the Python packages that the folder asks for, None for none.

    Raises ``CarboyError`` when two files say it, when it is said in a way that is not read, and when scripts import what
    nobody asks for.
    """
    from carboy.environments.detect.choose import choose_wants, find_unread, offer_requirements

    wants = choose_wants(facts.texts, named=settings.requirements, extras=settings.extras, groups=settings.groups)
    if wants is not None:
        return wants
    unread = find_unread(facts.deciding or facts.files)
    if unread is not None:
        name, meaning = unread
        raise CarboyError(
            f"{name} has {meaning}, which this version does not read",
            hint="write the Python packages into a requirements.txt, or build with a Dockerfile",
        )
    offer = offer_requirements(facts.files, facts.texts)
    if offer and not settings.packages:
        raise CarboyError(
            f"nothing says which packages to install, and the code imports {', '.join(offer[:8])}",
            hint=f"`carboy detect --write {facts.folder}` writes a requirements.txt; an empty one says that there are none",
        )
    return None


def check_packagers(facts: ProjectFacts, settings: Settings) -> None:
    """Raise ``CarboyError`` for a file of Julia's or Nix's packages, unless carboy.toml decides."""
    from carboy.environments.detect.choose import FOREIGN

    found = next((name for name in FOREIGN if name in facts.deciding), None)
    if found is None or settings.requirements or settings.has_r:
        return
    path = "/".join(filter(None, (facts.binder, found)))
    raise CarboyError(
        f"{path} has {FOREIGN[found]}, which carboy does not install",
        hint="build with a Dockerfile; or say in carboy.toml what counts in its place: "
        '[python] requirements = "requirements.txt"',
    )


def parse_apt(text: str) -> tuple[str, ...]:
    """Return the packages of an ``apt.txt``: names in lines, or beside each other. Raises ``CarboyError`` for what is no name."""
    names = [name for line in text.splitlines() for name in line.partition("#")[0].split()]
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            raise CarboyError(
                f"apt.txt: {name!r} is no name of a package", hint="write one name in each line, without a version"
            )
    return tuple(sorted(set(names)))


def _read_ignore(facts: ProjectFacts, settings: Settings) -> tuple[str, ...]:
    names = (".carboyignore", ".containerignore", ".dockerignore")
    text = next((facts.texts[name] for name in names if name in facts.texts), "")
    lines = [line.strip() for line in text.splitlines()]
    return (
        *_ALWAYS_IGNORED,
        *(IGNORED if _has_r_files(facts) else ()),
        *(line for line in lines if line and not line.startswith("#")),
        *settings.exclude,
        *(f"!{pattern}" for pattern in settings.include),
    )


def _has_r_files(facts: ProjectFacts) -> bool:
    return any(name in facts.files for name in ("renv", "renv.lock", "packrat")) or any(
        n.endswith((".R", ".r")) for n in facts.texts
    )

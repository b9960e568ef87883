"""What every verb of ``compose`` begins with: the options before the verb, the project, and its engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.base.home import open_own_home
from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.compose.document.files import DiskReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.model import Project
from carboy.compose.parse import load_project
from carboy.compose.planning.container import DIRECTORY_LABEL, FILES_LABEL, PROJECT_LABEL
from carboy.compose.planning.graph import check_names
from carboy.compose.planning.steps import BuildImage, Plan, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.base.home import Home
    from carboy.compose.execution.containers import EngineContainers
    from carboy.compose.execution.projects import ProjectEngine


@dataclass(slots=True, kw_only=True)
class Globals:
    """The options before the verb."""

    file: list[str] = field(default_factory=list)
    project_name: str = ""
    profile: list[str] = field(default_factory=list)
    env_file: list[str] = field(default_factory=list)
    project_directory: str = ""
    dry_run: bool = False
    quiet: bool = False
    ansi: str = "auto"


def parse_globals(words: list[str], verbs: Mapping[str, str]) -> tuple[Globals, str, list[str]]:
    """Return the options before the verb, the verb (empty when the help was shown), and the words behind it."""
    parser = Parser("compose [OPTIONS] VERB ...", "Projects of several containers, as compose files describe them.")
    parser.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE", help="a compose file; later ones win"
    )
    parser.add_argument("-p", "--project-name", default="", metavar="NAME", help="default: the folder's name")
    parser.add_argument("--profile", action="append", default=[], metavar="NAME", help="activate a profile")
    parser.add_argument("--env-file", action="append", default=[], metavar="FILE", help="variables (default: .env)")
    parser.add_argument("--project-directory", default="", metavar="FOLDER", help="what relative paths stand on")
    parser.add_argument("--dry-run", action="store_true", help="show the steps of up and down, and why; do nothing")
    parser.add_argument("--ansi", choices=("auto", "always", "never"), default="auto", help="colours")
    parser.add_argument(
        "--progress", choices=("auto", "tty", "plain", "quiet"), default="auto", help="how steps are shown"
    )
    first = _find_verb(words)
    if first == len(words):
        options = parser.parse_args(words)  # --help ends here
        parser.print_usage()
        width = max(map(len, verbs))
        print("\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in verbs.items()))
        print("\n`carboy compose VERB --help` shows the options of a verb.")
        return Globals(), "", []
    options = parser.parse_args(words[:first])
    made = Globals(
        file=options.file,
        project_name=options.project_name,
        profile=options.profile,
        env_file=options.env_file,
        project_directory=options.project_directory,
        dry_run=options.dry_run,
        quiet=options.progress == "quiet",
        ansi=options.ansi,
    )
    return made, words[first], words[first + 1 :]


_WITH_VALUE = {
    "-f", "--file", "-p", "--project-name", "--profile", "--env-file", "--project-directory", "--ansi", "--progress",
}  # fmt: skip


def _find_verb(words: list[str]) -> int:
    """Return the place of the first word that is neither an option nor an option's value."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] in _WITH_VALUE else 1
    return min(place, len(words))


def open_project(options: Globals, *, quiet: bool = False) -> Project:
    """Read the project that was asked for, and say on standard error what is odd about it. Raises ``ComposeError``.

    With a project's name and no compose file around, the files are those that its containers were made from.
    """
    request = LoadRequest(
        cwd=os.getcwd(),
        environment=os.environ,
        files=tuple(options.file),
        project_name=options.project_name,
        project_directory=options.project_directory,
        env_files=tuple(options.env_file),
        profiles=tuple(options.profile),
    )
    project = load_project(_with_known_files(request), DiskReader())
    if not quiet:
        for issue in project.warnings:
            print(f"warning: {printable(str(issue))}", file=sys.stderr)
    return project


def _with_known_files(request: LoadRequest) -> LoadRequest:
    from dataclasses import replace

    from carboy.compose.document.load import DEFAULT_NAMES

    name = request.project_name or request.environment.get("COMPOSE_PROJECT_NAME", "")
    if not name or request.files or request.environment.get("COMPOSE_FILE"):
        return request
    folder = request.project_directory or request.cwd
    while True:
        if any(os.path.exists(f"{folder}/{file}") for file in DEFAULT_NAMES):
            return request
        if folder == "/" or not folder:
            break
        folder = os.path.dirname(folder)
    from carboy.engine.containers.manage import list_containers

    for view in list_containers(open_own_home(os.environ), everything=True):
        labels = dict(view.config.labels)
        if labels.get(PROJECT_LABEL) == name and labels.get(FILES_LABEL):
            files = tuple(labels[FILES_LABEL].split(","))
            return replace(request, files=files, project_directory=labels.get(DIRECTORY_LABEL, ""))
    return request


class Narrator:
    """Says on standard error what is done to a project: implements ``Listener``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def began(self, step: Step) -> None:
        """Say what takes its time."""

    def ended(self, step: Step, seconds: float) -> None:
        """Say what was done; a build has its own lines."""
        if not self._quiet and not isinstance(step, BuildImage):
            took = f"  {seconds:.1f} s" if seconds >= 0.05 else ""
            print(f"{printable(step.what)}: done{took}", file=sys.stderr, flush=True)

    def warned(self, text: str) -> None:
        """Say what went wrong and may."""
        print(f"warning: {printable(text)}", file=sys.stderr, flush=True)


@dataclass(slots=True, kw_only=True)
class Session:
    """A project, with an engine to carry things out."""

    project: Project
    home: Home
    containers: EngineContainers
    engine: ProjectEngine
    narrator: Narrator


@contextmanager
def open_session(options: Globals, *, quiet: bool = False, quiet_build: bool = False) -> Iterator[Session]:
    """Read the project, open the engine, and give both. Raises ``CarboyError``."""
    project = open_project(options)
    from carboy.cli.progress import open_progress
    from carboy.compose.execution.containers import EngineContainers
    from carboy.compose.execution.projects import ProjectEngine
    from carboy.compose.execution.resources import EngineResources
    from carboy.engine.context import Engine

    opened = Engine.open(os.environ)
    narrator = Narrator(quiet=quiet or options.quiet)
    with ExitStack() as stack:
        containers = stack.enter_context(EngineContainers(opened))
        progress = stack.enter_context(
            open_progress(sys.stderr, mode="quiet" if quiet_build or options.quiet else "auto")
        )
        resources = EngineResources(opened, progress=progress, warn=narrator.warned)
        engine = ProjectEngine(project, containers, resources, listener=narrator)
        yield Session(project=project, home=opened.home, containers=containers, engine=engine, narrator=narrator)


def show_plans(*plans: Plan) -> int:
    """Print the steps of plans, with the reason of each, for ``--dry-run``."""
    lines = [line for plan in plans for line in plan.describe()]
    for plan in plans:
        for text in plan.warnings:
            print(f"warning: {printable(text)}", file=sys.stderr)
    for number, line in enumerate(lines, start=1):
        print(f"{number:>3}  {printable(line)}")
    if not lines:
        print("nothing to do", file=sys.stderr)
    return 0


def parse_timeout(text: str) -> float:
    """Return ``-t SECONDS``. Raises ``ValueError``, which argparse tells."""
    value = float(text)
    if value != value or value < 0:  # noqa: PLR0124  NaN
        raise ValueError(text)
    return value


def check_services(project: Project, services: list[str]) -> tuple[str, ...]:
    """Return the services that were named. Raises ``ComposeError`` for one that the project does not have."""
    names = tuple(services)
    check_names(project, names)
    return names

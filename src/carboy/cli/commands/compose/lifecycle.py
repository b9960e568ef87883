"""The verbs that change containers which are there: down, start, stop, restart, kill, pause, unpause, rm, build, pull."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from carboy.base.home import open_own_home
from carboy.cli.commands.compose.project import (
    Globals,
    check_services,
    open_project,
    open_session,
    parse_timeout,
    show_plans,
)
from carboy.cli.commands.containers import each, parse_signal
from carboy.cli.options import Parser
from carboy.compose.planning.lifecycle import (
    list_pushes,
    plan_builds,
    plan_pulls,
    plan_remove,
    plan_restart,
    plan_start,
)
from carboy.compose.planning.steps import RemoveContainer
from carboy.compose.planning.teardown import DownOptions, plan_down, plan_stop
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.engine.containers.manage import ContainerView


def _parser(verb: str, description: str, *, arguments: str = "[SERVICE ...]") -> argparse.ArgumentParser:
    parser = Parser(f"compose {verb} [OPTIONS] {arguments}", description)
    if arguments:
        parser.add_argument("services", nargs="*", metavar="SERVICE")
    return parser


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-t", "--timeout", type=parse_timeout, metavar="SECONDS", help="how long to wait before a container is ended"
    )


def down(options: Globals, words: list[str]) -> int:
    """Stop and remove what ``up`` made."""
    parser = _parser("down", "Stop and remove containers and networks.")
    parser.add_argument(
        "-v", "--volumes", action="store_true", help="remove the project's volumes, and what is in them"
    )
    parser.add_argument("--remove-orphans", action="store_true", help="remove containers of services that are gone")
    parser.add_argument("--rmi", choices=("local", "all"), default="", help="remove images: those built here, or all")
    _add_timeout(parser)
    given = parser.parse_args(words)
    with open_session(options) as session:
        asked = DownOptions(
            services=check_services(session.project, given.services),
            volumes=given.volumes,
            images=given.rmi,
            remove_orphans=given.remove_orphans,
            timeout_s=given.timeout,
        )
        plan = plan_down(session.project, session.engine.look(), asked)
        if options.dry_run:
            return show_plans(plan)
        session.engine.carry_out(plan)
        session.containers.sweep(session.project.name)
    return 0


def start(options: Globals, words: list[str]) -> int:
    """Start the containers that exist."""
    parser = _parser("start", "Start the containers that exist.")
    parser.add_argument("--wait", action="store_true", help="until they run, and are healthy where they are checked")
    given = parser.parse_args(words)
    with open_session(options) as session:
        services = check_services(session.project, given.services)
        plan = plan_start(session.project, session.engine.look(), services=services)
        if options.dry_run:
            return show_plans(plan)
        session.engine.carry_out(plan)
        if given.wait:
            from carboy.compose.planning.images import UpOptions

            session.engine.wait(UpOptions(services=services))
    return 0


def stop(options: Globals, words: list[str]) -> int:
    """Stop containers."""
    parser = _parser("stop", "Stop containers, each behind those that depend on it.")
    _add_timeout(parser)
    given = parser.parse_args(words)
    with open_session(options) as session:
        services = check_services(session.project, given.services)
        plan = plan_stop(session.project, session.engine.look(), services=services, timeout_s=given.timeout)
        if options.dry_run:
            return show_plans(plan)
        session.engine.carry_out(plan)
    return 0


def restart(options: Globals, words: list[str]) -> int:
    """Stop containers and start them again."""
    parser = _parser("restart", "Stop containers, where they run, and start them.")
    _add_timeout(parser)
    given = parser.parse_args(words)
    with open_session(options) as session:
        services = check_services(session.project, given.services)
        plan = plan_restart(session.project, session.engine.look(), services=services, timeout_s=given.timeout)
        if options.dry_run:
            return show_plans(plan)
        session.engine.carry_out(plan)
    return 0


def rm(options: Globals, words: list[str]) -> int:
    """Remove stopped containers."""
    parser = _parser("rm", "Remove stopped containers.")
    parser.add_argument("-f", "--force", action="store_true", help="ask nothing")
    parser.add_argument("-s", "--stop", action="store_true", help="stop those that run, first")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove their unnamed volumes, too")
    given = parser.parse_args(words)
    with open_session(options) as session:
        services = check_services(session.project, given.services)
        existing = session.engine.look()
        plan = plan_remove(session.project, existing, services=services, stop=given.stop, volumes=given.volumes)
        names = [step.name for step in plan.steps if isinstance(step, RemoveContainer)]
        if options.dry_run:
            return show_plans(plan)
        if not names:
            print("no stopped containers", file=sys.stderr)
        elif given.force or _agree(f"remove {', '.join(names)}"):
            session.engine.carry_out(plan)
    return 0


def _agree(what: str) -> bool:
    """Ask on a terminal; without one nobody is there to ask, and the answer is no."""
    if not sys.stdin.isatty():
        raise CarboyError(f"nobody can be asked whether to {what}", hint="add -f", code=1)
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def build(options: Globals, words: list[str]) -> int:
    """Build images."""
    parser = _parser("build", "Build the images of services.")
    parser.add_argument("--pull", action="store_true", help="ask the archive for a newer base")
    parser.add_argument("--no-cache", action="store_true", help="accepted; has no effect")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing")
    given = parser.parse_args(words)
    with open_session(options, quiet=given.quiet, quiet_build=given.quiet) as session:
        services = check_services(session.project, given.services)
        plan = plan_builds(session.project, services=services, pull=given.pull, no_cache=given.no_cache)
        if options.dry_run:
            return show_plans(plan)
        if not plan.steps:
            print("no service is built here", file=sys.stderr)
        session.engine.carry_out(plan)
    return 0


def pull(options: Globals, words: list[str]) -> int:
    """Get images from registries."""
    parser = _parser("pull", "Get the images of services that are not built here.")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing")
    given = parser.parse_args(words)
    with open_session(options, quiet=given.quiet, quiet_build=given.quiet) as session:
        services = check_services(session.project, given.services)
        plan = plan_pulls(session.project, services=services)
        if options.dry_run:
            return show_plans(plan)
        if not plan.steps:
            print("every service is built here", file=sys.stderr)
        session.engine.carry_out(plan)
    return 0


def push(options: Globals, words: list[str]) -> int:
    """Send images to registries."""
    parser = _parser("push", "Send the images of services that are built here, and have a name, to their registries.")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing")
    given = parser.parse_args(words)
    project = open_project(options)
    images = list_pushes(project, services=check_services(project, given.services))
    if not images:
        raise CarboyError("no service is built here under a name of its own", hint="write build and image", code=1)
    if options.dry_run:
        print("\n".join(f"push image {image}" for image in images))
        return 0
    from carboy.cli.commands.registry.progress import open_transfers
    from carboy.engine.context import Engine
    from carboy.engine.transfer import registries

    engine = Engine.open(os.environ)
    with open_transfers(sys.stderr, quiet=given.quiet) as progress:
        for image in images:
            registries.push(engine, image, progress=progress)
    return 0


def kill(options: Globals, words: list[str]) -> int:
    """Send a signal to containers."""
    parser = _parser("kill", "Send a signal to running containers.")
    parser.add_argument("-s", "--signal", default="KILL", help="the signal (default: KILL)")
    parser.add_argument("--remove-orphans", action="store_true", help="accepted; orphans are left to down")
    given = parser.parse_args(words)
    number = parse_signal(given.signal)
    from carboy.engine.containers.manage import kill_container

    return _each_running(options, given.services, lambda view: kill_container(view, signal=number))


def pause(options: Globals, words: list[str]) -> int:
    """Hold containers."""
    given = _parser("pause", "Hold all processes of containers where they are.").parse_args(words)
    from carboy.engine.containers.manage import pause_container

    return _each_running(options, given.services, pause_container)


def unpause(options: Globals, words: list[str]) -> int:
    """Let containers go on."""
    given = _parser("unpause", "Let the processes of paused containers go on.").parse_args(words)
    from carboy.engine.containers.manage import pause_container

    return _each_running(options, given.services, lambda view: pause_container(view, resume=True))


def _each_running(options: Globals, services: list[str], call: Callable[[ContainerView], None]) -> int:
    """Call ``call`` for each running container of the services, and print the names that it worked for."""
    project = open_project(options)
    from carboy.compose.execution.logs import find_views

    home = open_own_home(os.environ)
    views = find_views(home, project.name, check_services(project, services))
    running = {view.name: view for view in views if view.running}
    if not running:
        raise CarboyError("no container of the project runs", hint="carboy compose ps -a")
    return each(list(running), lambda name: call(running[name]))

"""``carboy compose exec`` and ``run``: the words behind the service are the program's."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING

from carboy.base.home import open_own_home
from carboy.cli.commands.compose.project import Globals, check_services, open_project, open_session
from carboy.cli.commands.container_options import read_variables
from carboy.cli.options import Parser
from carboy.errors import CarboyError
from carboy.runtime.stdio import Stdio

if TYPE_CHECKING:
    from carboy.cli.commands.compose.project import Session
    from carboy.compose.planning.container import ServiceContainer


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    given = parser.parse_args(words)
    if given.command[:1] == ["--"]:
        given.command.pop(0)
    return given


def exec_(options: Globals, words: list[str]) -> int:
    """Run a program in a running container of a service and return its exit status."""
    parser = Parser(
        "compose exec [OPTIONS] SERVICE COMMAND [ARGUMENTS]", "Run one more program in a running container."
    )
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running")
    parser.add_argument("-T", "--no-tty", action="store_true", help="no terminal (default: one where we have one)")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    parser.add_argument("-u", "--user", default="", metavar="USER[:GROUP]", help="the user to run as")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="the directory to start in")
    parser.add_argument("--index", type=int, default=1, metavar="N", help="which container of the service (default: 1)")
    given = _parse(parser, words)
    if not given.command:
        raise CarboyError("say what to run", hint=f"carboy compose exec {given.service} COMMAND", code=2)
    project = open_project(options)
    check_services(project, [given.service])
    from carboy.compose.execution.logs import find_view
    from carboy.containers.client import execute, execute_detached

    view = find_view(open_own_home(os.environ), project.name, given.service, number=given.index)
    terminal = not given.no_tty and not given.detach and os.isatty(0) and os.isatty(1)
    env = [*([f"TERM={os.environ.get('TERM', 'xterm')}"] if terminal else []), *read_variables(given.env, option="-e")]
    process = {"args": given.command, "env": env, "terminal": terminal}
    process |= {name: value for name, value in (("user", given.user), ("cwd", given.workdir)) if value}
    if given.detach:
        execute_detached(view.folder, process)
        return 0
    return execute(view.folder, process, Stdio(stdin=0, stdout=1, stderr=2, terminal=terminal))


def run(options: Globals, words: list[str]) -> int:
    """Run one more container of a service, once, and return its exit status."""
    parser = Parser("compose run [OPTIONS] SERVICE [COMMAND] [ARGUMENTS]", "Run one more container of a service, once.")
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running, and print its id")
    parser.add_argument("--rm", action="store_true", help="remove it when it ends")
    parser.add_argument("-T", "--no-TTY", "--no-tty", dest="no_tty", action="store_true", help="no terminal")
    parser.add_argument("-i", "--interactive", action="store_true", help="accepted; standard input is passed on anyway")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    parser.add_argument(
        "-l", "--label", action="append", default=[], metavar="NAME=VALUE", help="note something about it"
    )
    parser.add_argument("-p", "--publish", action="append", default=[], metavar="PORT", help="publish a port")
    parser.add_argument("-P", "--service-ports", action="store_true", help="publish the service's own ports, too")
    parser.add_argument(
        "-v", "--volume", action="append", default=[], metavar="FROM:TO", help="one more folder or volume"
    )
    parser.add_argument("-u", "--user", default="", metavar="USER[:GROUP]", help="the user to run as")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="the directory to start in")
    parser.add_argument("--entrypoint", default=None, metavar="COMMAND", help="replace the entry point")
    parser.add_argument("--name", default="", help="its name")
    parser.add_argument("--cap-add", action="append", default=[], metavar="NAME", help="one more capability")
    parser.add_argument("--cap-drop", action="append", default=[], metavar="NAME", help="one less")
    parser.add_argument("--no-deps", action="store_true", help="leave what the service depends on alone")
    parser.add_argument("--build", action="store_true", help="build the image first, though it is here")
    parser.add_argument("--use-aliases", action="store_true", help="let it answer to the service's names")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say what is done")
    given = _parse(parser, words)
    with open_session(options, quiet=given.quiet, quiet_build=given.quiet) as session:
        check_services(session.project, [given.service])
        container = _oneoff(session, given)
        _prepare(session, given)
        session.containers.create(container)
        return _attend(session, container, given)


def _oneoff(session: Session, given: argparse.Namespace) -> ServiceContainer:
    from carboy.compose.document.paths import resolve_path
    from carboy.compose.document.short import ShortFormError, parse_volume
    from carboy.compose.model import Mount
    from carboy.compose.planning.container import mount_text
    from carboy.compose.planning.oneoff import RunOptions, oneoff_container

    mounts = []
    for text in given.volume:
        try:
            volume = parse_volume(text)
        except ShortFormError as error:
            raise CarboyError(f"-v {text}: {error}", code=2) from error
        source = volume.source
        if volume.kind == "bind":
            source = resolve_path(os.getcwd(), source, home=os.environ.get("HOME", ""))
        mount = Mount(kind=volume.kind, target=volume.target, source=source, read_only=volume.read_only)
        mounts.append(mount_text(mount, source))
    asked = RunOptions(
        slug=os.urandom(6).hex(),
        command=tuple(given.command),
        name=given.name,
        entrypoint=None if given.entrypoint is None else tuple(shlex.split(given.entrypoint)),
        env=tuple(read_variables(given.env, option="-e")),
        label=tuple(given.label),
        publish=tuple(given.publish),
        mount=tuple(mounts),
        user=given.user,
        workdir=given.workdir,
        cap_add=tuple(given.cap_add),
        cap_drop=tuple(given.cap_drop),
        tty=not given.no_tty and not given.detach and os.isatty(0) and os.isatty(1),
        interactive=not given.detach,
        ports=given.service_ports,
        aliases=given.use_aliases,
    )
    return oneoff_container(session.project, given.service, asked)


def _prepare(session: Session, given: argparse.Namespace) -> None:
    """Make the image and what the service depends on."""
    from carboy.compose.planning.images import UpOptions, plan_images
    from carboy.compose.planning.lifecycle import plan_conditions
    from carboy.compose.planning.plan import plan_resources

    service = session.project.service(given.service)
    alone = UpOptions(services=(given.service,), no_deps=True, build=given.build)
    session.engine.carry_out(plan_images(session.project, session.engine.look(), alone))
    known = {item.name for item in session.project.services}
    needed = () if given.no_deps else tuple(item.service for item in service.depends_on if item.service in known)
    if needed:
        session.engine.up(UpOptions(services=needed))
        session.engine.carry_out(plan_conditions(session.project, session.engine.look(), service.name))
    session.engine.carry_out(plan_resources(session.project, (service,), session.engine.look()))


def _attend(session: Session, container: ServiceContainer, given: argparse.Namespace) -> int:
    from carboy.engine.containers.create import start_container
    from carboy.engine.containers.manage import open_view
    from carboy.engine.context import Engine

    view = open_view(session.home, container.name)
    engine: Engine = session.containers.opened
    if given.detach:
        session.containers.start(view.id)
        print(view.id)
        return 0
    stdio = Stdio(stdin=0, stdout=1, stderr=2, terminal=container.tty)
    try:
        return start_container(engine, view.id, stdio=stdio) or 0
    finally:
        if given.rm:
            session.containers.begin_stop(view.id, timeout_s=0)
            session.containers.remove(view.id, volumes=True)

"""``carboy compose up`` and ``create``; in the foreground with the logs of all, and two Ctrl-C: stop, then kill."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from carboy.cli.commands.compose.logs import LinePrinter
from carboy.cli.commands.compose.project import (
    Globals,
    Session,
    check_services,
    open_session,
    parse_timeout,
    show_plans,
)
from carboy.cli.options import Parser
from carboy.compose.execution.logs import LogOptions, ProjectLog
from carboy.compose.planning.graph import select_services
from carboy.compose.planning.images import UpOptions
from carboy.compose.planning.steps import Plan, PlanBuilder, StopContainer
from carboy.compose.planning.teardown import plan_stop
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.compose.planning.state import ExistingContainer

INTERRUPTED = 130


def _parse_scale(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    return name, int(count)


def _add_making(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``up`` and ``create`` share."""
    parser.add_argument("--build", action="store_true", help="build images first, though they are here")
    parser.add_argument("--no-build", action="store_true", help="build no images, though they are missing")
    parser.add_argument(
        "--pull", choices=("always", "missing", "never", "build"), default="", help="when to get images"
    )
    parser.add_argument(
        "--force-recreate", action="store_true", help="make containers anew, though nothing has changed"
    )
    parser.add_argument(
        "--no-recreate", action="store_true", help="leave containers alone, though something has changed"
    )
    parser.add_argument("--remove-orphans", action="store_true", help="remove containers of services that are gone")
    parser.add_argument(
        "--scale", type=_parse_scale, action="append", default=[], metavar="SERVICE=N", help="how many containers"
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE")


def up(options: Globals, words: list[str]) -> int:
    """Bring services up; without ``-d`` stay, show what they write, and stop them at the end."""
    parser = Parser("compose up [OPTIONS] [SERVICE ...]", "Build, make and start what the file says.")
    parser.add_argument("-d", "--detach", action="store_true", help="leave the containers running")
    parser.add_argument("--no-deps", action="store_true", help="leave what the services depend on alone")
    parser.add_argument("--no-start", action="store_true", help="only make them")
    parser.add_argument(
        "--wait", action="store_true", help="until they run, and are healthy where they are checked; with -d"
    )
    parser.add_argument("--wait-timeout", type=parse_timeout, metavar="SECONDS", help="how long to wait at most")
    parser.add_argument("--abort-on-container-exit", action="store_true", help="stop all when one ends")
    parser.add_argument(
        "--exit-code-from", default="", metavar="SERVICE", help="stop all when one ends; end with its status"
    )
    parser.add_argument("--no-log-prefix", action="store_true", help="no names in front of lines")
    parser.add_argument("--no-color", action="store_true", help="no colours")
    parser.add_argument("--timestamps", action="store_true", help="show when each line was written")
    parser.add_argument(
        "-t", "--timeout", type=parse_timeout, metavar="SECONDS", help="how long to wait before a container is ended"
    )
    _add_making(parser)
    given = parser.parse_args(words)
    aborts = bool(given.abort_on_container_exit or given.exit_code_from)
    stays = not (given.detach or given.wait or given.no_start)
    if aborts and not stays:
        raise CarboyError("who aborts when a container ends must stay", hint="leave -d and --wait out", code=2)
    if given.force_recreate and given.no_recreate:
        raise CarboyError("--force-recreate and --no-recreate contradict each other", code=2)
    with open_session(options) as session:
        check_services(session.project, [given.exit_code_from] if given.exit_code_from else [])
        asked = _up_options(session, given)
        if options.dry_run:
            return show_plans(*session.engine.preview_up(asked))
        if stays:
            colour = not given.no_color and options.ansi != "never"
            printer = LinePrinter(prefix=not given.no_log_prefix, timestamps=given.timestamps, colour=colour)
            return Foreground(
                session=session, asked=asked, printer=printer, aborts=aborts, exit_code_from=given.exit_code_from
            ).run()
        session.engine.up(asked)
        if given.wait:
            session.engine.wait(asked, timeout_s=given.wait_timeout)
        session.containers.sweep(session.project.name)
    return 0


def create(options: Globals, words: list[str]) -> int:
    """Build and make, without starting."""
    parser = Parser(
        "compose create [OPTIONS] [SERVICE ...]", "Build images and make containers, without starting them."
    )
    _add_making(parser)
    given = parser.parse_args([*words])
    with open_session(options) as session:
        given.no_start, given.no_deps, given.timeout = True, False, None
        asked = _up_options(session, given)
        if options.dry_run:
            return show_plans(*session.engine.preview_up(asked))
        session.engine.up(asked)
    return 0


def _up_options(session: Session, given: argparse.Namespace) -> UpOptions:
    if given.build and given.no_build:
        raise CarboyError("--build and --no-build contradict each other", code=2)
    return UpOptions(
        services=check_services(session.project, given.services),
        scale=tuple(given.scale),
        build=given.build,
        no_build=given.no_build,
        pull="" if given.pull == "build" else given.pull,
        force_recreate=given.force_recreate,
        no_recreate=given.no_recreate,
        no_deps=given.no_deps,
        no_start=given.no_start,
        remove_orphans=given.remove_orphans,
        timeout_s=given.timeout,
    )


@dataclass(slots=True, kw_only=True)
class Foreground:
    """Services that are up as long as somebody looks at them."""

    session: Session
    asked: UpOptions
    printer: LinePrinter
    aborts: bool
    exit_code_from: str
    _ended: dict[str, int] = field(default_factory=dict)
    _first: ExistingContainer | None = None

    def run(self) -> int:
        """Bring the services up, stay until they have ended or Ctrl-C, and return the exit status."""
        chosen = select_services(self.session.project, self.asked.services, with_dependencies=not self.asked.no_deps)
        names = tuple(service.name for service in chosen)
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with ProjectLog(self.session.home, self.session.project.name, LogOptions(services=names, since=since)) as log:
            self.session.containers.attend(log.filenos, lambda: self._show(log))
            try:
                self.session.engine.up(self.asked)
                print(f"attached to {', '.join(names)}; Ctrl-C stops all", file=sys.stderr, flush=True)
                return self._stay(names)
            except KeyboardInterrupt:
                self._end_interrupted(names)
                return INTERRUPTED
            except CarboyError:
                self._show(log)
                raise

    def _show(self, log: ProjectLog) -> None:
        for line in log.read():
            self.printer.print(line)
        self.printer.flush()

    def _stay(self, names: tuple[str, ...]) -> int:
        """Look until all have ended, or one where that is the end of all."""
        while True:
            own = self._own(names)
            self._tell_ends(own)
            if self.aborts and self._first is not None:
                print(f"{self._first.name} has ended: all are stopped", file=sys.stderr, flush=True)
                self.session.engine.carry_out(self._plan_stop(names))
                return self._find_status(names)
            if not any(item.is_up for item in own):
                self.session.containers.pause(0)  # what they wrote last
                return self._find_status(names) if self.aborts else 0
            self.session.containers.pause(1.0)

    def _own(self, names: tuple[str, ...]) -> list[ExistingContainer]:
        found = self.session.containers.list(self.session.project.name)
        return [item for item in found if item.service in names and not item.is_oneoff]

    def _tell_ends(self, own: list[ExistingContainer]) -> None:
        for item in own:
            if item.status == "exited" and item.id not in self._ended:
                self._ended[item.id] = item.exit_code or 0
                self._first = self._first or item
                self.session.containers.pause(0)
                print(f"{item.name} has ended with status {item.exit_code}", file=sys.stderr, flush=True)
            elif item.is_up:
                self._ended.pop(item.id, None)

    def _find_status(self, names: tuple[str, ...]) -> int:
        """Return the exit status of the service that was named, else that of whoever ended first."""
        if not self.exit_code_from:
            return 0 if self._first is None else self._ended.get(self._first.id, 0)
        own = [item for item in self._own(names) if item.service == self.exit_code_from]
        return next((item.exit_code for item in own if item.exit_code), 0)

    def _plan_stop(self, names: tuple[str, ...]) -> Plan:
        existing = self.session.engine.look()
        return plan_stop(self.session.project, existing, services=names, timeout_s=self.asked.timeout_s)

    def _end_interrupted(self, names: tuple[str, ...]) -> None:
        """Stop all in order; at one more Ctrl-C end them at once."""
        try:
            print("\nstopping; Ctrl-C again kills", file=sys.stderr, flush=True)
            self.session.engine.carry_out(self._plan_stop(names))
        except KeyboardInterrupt:
            print("\nkilling", file=sys.stderr, flush=True)
            # A third one would leave some of them running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            builder = PlanBuilder()
            for item in self._own(names):
                if item.is_up:
                    self.session.containers.kill(item.id, signal=signal.SIGKILL)
                    builder.add(StopContainer(id=item.id, name=item.name, timeout_s=0, reason="Ctrl-C, twice"))
            self.session.engine.carry_out(builder.finish())

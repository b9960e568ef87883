"""``carboy rerun``: a recorded run once more, and whether the same comes of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from carboy.cli.commands.container_options import read_variables
from carboy.cli.commands.runs.record import parse_seed, print_notes
from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.engine.context import Engine
from carboy.engine.ledger.rerun import Changes, Rerun
from carboy.engine.ledger.rerun import rerun as run_again
from carboy.engine.ledger.runs import open_run
from carboy.errors import CarboyError
from carboy.ledger.store import SHORT_ID

if TYPE_CHECKING:
    from carboy.ledger.difference import Difference
    from carboy.ledger.record import RunRecord


def rerun(words: list[str]) -> int:
    """Run a recorded run again; with --check 0 when its results are equal, 1 when they are not."""
    parser = Parser(
        "rerun [OPTIONS] RUN",
        "Run a recorded run again: the same image by digest, command, variables, options and mounts. It is recorded, too.",
    )
    parser.add_argument("--check", action="store_true",
                        help="compare what comes of it, by digest, and write into copies of the mounted folders; "
                             "ends with 0 when all is equal, else 1")  # fmt: skip
    parser.add_argument("--seed", default=None, metavar="N", help="another seed than the run had")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]",
                        help="set a variable, or one whose value was not kept")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say what the rerun is recorded as")
    parser.add_argument("run", metavar="RUN", help="the beginning of its id, or latest")
    options = parser.parse_args(words)
    changes = Changes(
        seed=None if options.seed is None else parse_seed(options.seed),
        env=tuple(_variable(text) for text in options.env),
        check=options.check,
    )
    engine = Engine.open(os.environ)
    record = open_run(engine.home, options.run).record
    done = run_again(engine, record, changes, say=_say, found=lambda item: _say(f"differs: {_sentence(item)}"))
    sys.stdout.flush()
    if not options.quiet:
        print_notes(done.record.notes)
        print(f"recorded as {done.record.id[:SHORT_ID]}", file=sys.stderr)
    if not options.check:
        return done.record.exit_status or 0
    _report(record, done)
    return 1 if done.results else 0


def _variable(text: str) -> str:
    found = read_variables([text], option="-e")
    if not found:
        raise CarboyError(f"{text} is not set in your environment", hint=f"write -e {text}=VALUE", code=2)
    return found[0]


def _say(text: str) -> None:
    print(f"carboy: {printable(text)}", file=sys.stderr)


def _sentence(item: Difference) -> str:
    return f"{item.kind} {item.name}".rstrip() + f": {item.before} then, {item.after} now"


def _report(record: RunRecord, done: Rerun) -> None:
    for item in done.results:
        print(printable(f"differs: {_sentence(item)}"))
    count = len(record.outputs)
    outputs = f"{count} output{'' if count == 1 else 's'}"
    if not done.results:
        print(f"equal: {outputs}, exit status {done.record.exit_status}")
    else:
        print(f"not equal: {len(done.results)} of the results differ ({outputs} and the exit status)")
    if done.conditions:
        print(printable(f"what else was different: {'; '.join(map(_sentence, done.conditions))}"))
    elif done.results:
        print("nothing else was different: the program does not do the same twice")

"""The far end of a task: runs in the container, under the image's own Python (3.8 or newer, standard library only).

It is given to ``python -c`` behind ``wire``'s text, reads frames on standard input and writes frames on what was standard output;
what the function prints goes to standard error. First comes ("function", {"source", "name"}), then any number of
("call", {"args", "kwargs"}), each answered by ("result", value) or ("error", {...}).
"""

import os
import sys
import tempfile
import traceback


def describe(error):
    """Return an exception as values: what type, what it says, where."""
    kind = type(error)
    args = []
    for arg in error.args:
        args.append(arg if isinstance(arg, (str, int, float, bool, type(None))) else repr(arg))
    frames = traceback.format_exception(kind, error, error.__traceback__)
    return {
        "module": kind.__module__,
        "type": kind.__qualname__,
        "args": args,
        "text": str(error),
        "trace": "".join(frames),
    }


def main():
    """Serve calls until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls = os.fdopen(os.dup(0), "rb")
    folder = tempfile.mkdtemp(prefix="carboy-task-")
    scope = {"__name__": "carboy_task"}
    function = None
    while True:
        frame = read_frame(calls, folder)  # noqa: F821  of the wire's text, which stands before this one
        if frame is None:
            return
        kind, value = frame
        try:
            if kind == "function":
                code = compile(value["source"], "<task %s>" % value["name"], "exec")
                # So that the trace shows the lines.
                import linecache

                lines = value["source"].splitlines(True)
                linecache.cache["<task %s>" % value["name"]] = (len(value["source"]), None, lines, "<task>")
                exec(code, scope)
                function = scope[value["name"]]
                continue
            result = function(*value["args"], **value["kwargs"])
            sys.stdout.flush()
            write_frame(answers, "result", result)  # noqa: F821
        except BaseException as error:
            write_frame(answers, "error", describe(error))  # noqa: F821
            if isinstance(error, (SystemExit, KeyboardInterrupt)) or kind == "function":
                return


main()

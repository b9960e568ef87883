"""``@carboy.task`` and ``carboy.map``: a Python function, run in containers."""

from __future__ import annotations

import builtins
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import update_wrapper
from importlib import resources
from types import FunctionType
from typing import IO, Any, Generic, ParamSpec, TypeVar

from carboy.base.proc import spawn, wait
from carboy.client.calls import find_cli
from carboy.client.tasks.source import function_source
from carboy.client.tasks.wire import WireError, read_frame, write_frame
from carboy.errors import CarboyError

P = ParamSpec("P")
R = TypeVar("R")


class TaskError(CarboyError):
    """A task failed in its container: ``type_name``, what it said, and ``trace``, the text of its traceback there."""

    def __init__(self, type_name: str, text: str, *, trace: str = "") -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name, details=trace)
        self.type_name = type_name
        self.trace = trace


class Task(Generic[P, R]):
    """A function that runs in a container when it is called; ``.local`` is the function itself, ``.map`` many calls at once.

    Made by :func:`task`. Arguments and results are what ``carboy.client.tasks.wire`` can carry: JSON, bytes, dates, NumPy
    arrays, pandas frames, and files (a ``pathlib.Path`` stands for its content, and comes out as a path at the other end).
    An exception of a built-in type is raised as such, with the trace of the container as a note; any other as
    :class:`TaskError`.
    """

    def __init__(self, function: Callable[P, R], *, image: str, options: Sequence[str], files: str | None) -> None:
        if not isinstance(function, FunctionType):
            raise TypeError("a task is made of a function")
        self.local = function
        self._image = image
        self._options = list(options)
        self._files = files
        self.__carboy_task__ = function
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in a new container and return its result."""
        with _Worker(self) as worker:
            result: R = worker.call(args, kwargs)
        return result

    def map(self, *inputs: Iterable[Any], workers: int | None = None, fresh: bool = False) -> Iterator[R]:
        """Yield the results for inputs, in their order, as they come: ``workers`` containers work at once.

        Several iterables give several arguments, as the built-in ``map`` has it. A container takes one call after the
        other; ``fresh`` gives each call one of its own. The first exception is raised where its result would have
        come, and ends the rest.
        """
        return _map(self, zip(*inputs, strict=False), workers=workers or os.cpu_count() or 1, fresh=fresh)


def task(
    *,
    image: str | os.PathLike[str],
    memory: str | int | None = None,
    cpus: float | None = None,
    network: str = "none",
    volumes: Mapping[str, str] | Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    files: str | os.PathLike[str] | None = None,
    python: str = "python3",
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function one that runs in a container of ``image`` (an image's name or a folder), without a network.

    ``files`` is the folder where files that it returns are put (default: a new one in the temporary folder); the other
    options are those of :func:`carboy.run`.
    """
    from carboy.client.container import volume_texts

    options = ["--network", network]
    for option, value in (("--memory", memory), ("--cpus", cpus)):
        options += [option, str(value)] if value is not None else []
    for text in volume_texts(volumes):
        options += ["--volume", text]
    for name, value in (env or {}).items():
        options += ["--env", f"{name}={value}"]
    options += ["--entrypoint", python]
    place = None if files is None else os.fspath(files)
    return lambda function: Task(function, image=os.fspath(image), options=options, files=place)


def map(
    function: Callable[..., R] | Task[..., R],
    *inputs: Iterable[Any],
    image: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    fresh: bool = False,
    **options: Any,
) -> Iterator[R]:
    """Yield ``function`` of each input, run in containers in parallel; see :meth:`Task.map` and :func:`task`."""
    if isinstance(function, Task):
        return function.map(*inputs, workers=workers, fresh=fresh)
    if image is None:
        raise CarboyError("say in which image the function runs", hint='carboy.map(f, inputs, image="iris:1")')
    made: Task[..., R] = task(image=image, **options)(function)
    return made.map(*inputs, workers=workers, fresh=fresh)


class _Worker:
    """One container that takes calls, from the first to the end of the context."""

    def __init__(self, owner: Task[..., Any]) -> None:
        self._task = owner
        name = owner.local.__name__
        source = function_source(owner.local)
        program = _read("wire") + _read("runner")
        words = ["run", "--rm", "-i", "-q", *owner._options, owner._image, "-c", program]
        ins, outs, errs = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        try:
            fds = {0: ins[0], 1: outs[1], 2: errs[1]}
            self._pid: int | None = spawn([*find_cli(), *words], env=dict(os.environ), fds=fds)
        finally:
            for fd in (ins[0], outs[1], errs[1]):
                os.close(fd)
        self._calls: IO[bytes] = open(ins[1], "wb")  # noqa: SIM115
        self._answers: IO[bytes] = open(outs[0], "rb")  # noqa: SIM115
        self._files = owner._files or tempfile.mkdtemp(prefix="carboy-results-")
        self._printed = b""
        self._printer = threading.Thread(target=self._pass_on, args=(errs[0],), daemon=True)
        self._printer.start()
        self._send("function", {"source": source, "name": name})

    def _pass_on(self, fd: int) -> None:
        """What the function prints, and what carboy says of the container, goes to our error output as it comes."""
        with open(fd, "rb", buffering=0) as file:
            while data := file.read(65_536):
                self._printed = (self._printed + data)[-4096:]
                os.write(2, data)

    def _send(self, kind: str, value: object) -> None:
        try:
            write_frame(self._calls, kind, value)
        except BrokenPipeError as error:
            raise self._explain_death() from error
        except WireError as error:
            raise CarboyError(f"the task {self._task.local.__name__}: {error}") from error

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run one call to its end. Raises what the function raised, ``TaskError`` when the container is gone."""
        self._send("call", {"args": list(args), "kwargs": dict(kwargs)})
        os.makedirs(self._files, exist_ok=True)
        try:
            frame = read_frame(self._answers, self._files)
        except WireError as error:
            raise CarboyError(
                f"the task {self._task.local.__name__} answered with what cannot be read: {error}"
            ) from error
        if frame is None:
            raise self._explain_death()
        kind, value = frame
        if kind == "result":
            return value
        raise _rebuild(value)

    def _explain_death(self) -> CarboyError:
        status = self.close()
        self._printer.join(5)
        text = self._printed.decode(errors="replace").strip()
        if status in {125, 126, 127} and "error: " in text:
            return CarboyError(text.partition("error: ")[2].partition("\n")[0], details=text, code=status)
        reason = "killed, perhaps because its memory was used up" if status == 137 else f"exit status {status}"
        return TaskError("ContainerEnded", f"the container ended ({reason})", trace=text)

    def close(self) -> int:
        """End the container and return its exit status."""
        if self._pid is None:
            return 0
        for file in (self._calls, self._answers):
            try:
                file.close()
            except BrokenPipeError:
                continue
        status = wait(self._pid)
        self._pid = None
        return status

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rebuild(value: Mapping[str, Any]) -> BaseException:
    """Return the exception to raise here. Only built-in types are made anew: nothing else is looked up by a name from there."""
    kind = getattr(builtins, str(value.get("type")), None) if value.get("module") == "builtins" else None
    trace = str(value.get("trace", ""))
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            error: BaseException = kind(*value.get("args", ()))
        except TypeError:
            error = TaskError(str(value.get("type")), str(value.get("text", "")), trace=trace)
    else:
        name = f"{value.get('module')}.{value.get('type')}".removeprefix("builtins.")
        error = TaskError(name, str(value.get("text", "")), trace=trace)
    error.add_note(f"In the container:\n{trace.rstrip()}")
    return error


def _read(module: str) -> str:
    return resources.files("carboy.client.tasks").joinpath(f"{module}.py").read_text(encoding="utf-8")


def _map(owner: Task[..., R], calls: Iterable[tuple[Any, ...]], *, workers: int, fresh: bool) -> Iterator[R]:
    todo = enumerate(calls)
    lock = threading.Lock()
    done: queue.Queue[tuple[int, bool, Any]] = queue.Queue()
    stop = threading.Event()

    def take() -> tuple[int, tuple[Any, ...]] | None:
        with lock:
            return None if stop.is_set() else next(todo, None)

    def work() -> None:
        worker: _Worker | None = None
        number = -1
        try:
            while (job := take()) is not None:
                number, args = job
                try:
                    worker = worker or _Worker(owner)
                    done.put((number, True, worker.call(args, {})))
                except BaseException as error:  # noqa: BLE001  raised again where its result would have come
                    done.put((number, False, error))
                    _end(worker)
                    worker = None
                if fresh:
                    _end(worker)
                    worker = None
        except BaseException as error:  # noqa: BLE001  of the inputs themselves
            done.put((number + 1, False, error))
        finally:
            _end(worker)
            done.put((-1, True, None))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, workers))]
    for thread in threads:
        thread.start()
    try:
        yield from _in_order(done, len(threads))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _end(worker: _Worker | None) -> None:
    """Close a worker, if there is one."""
    if worker is not None:
        worker.close()


def _in_order(done: queue.Queue[tuple[int, bool, Any]], running: int) -> Iterator[Any]:
    early: dict[int, tuple[bool, Any]] = {}
    expected = 0
    while running or early:
        if expected in early:
            good, value = early.pop(expected)
            if not good:
                raise value
            yield value
            expected += 1
            continue
        if not running:
            raise next(value for good, value in early.values() if not good)
        number, good, value = done.get()
        if number < 0:
            running -= 1
        else:
            early[number] = good, value

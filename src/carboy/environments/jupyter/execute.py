"""Executes a notebook, cell by cell: ``execute.py NOTEBOOK TARGET KERNEL``.

What the cells print is printed; the notebook with all that came of it is written to TARGET, at the end and as a whole, also
when a cell fails: the exit status is 1 then. No times are written, so that the same results are the same bytes.
"""

import os
import re
import sys
import warnings
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from traitlets.config import Config


def main() -> int:
    """Execute it and return the exit status."""
    source, target, kernel = sys.argv[1:4]
    warnings.simplefilter("ignore")  # of missing ids, which are given below
    try:
        notebook = nbformat.read(source, as_version=4)
    except Exception as error:  # whatever a file holds that is no notebook
        return complain(f"{source} is no notebook: {type(error).__name__}: {error}")
    known = KernelSpecManager().find_kernel_specs()
    if kernel not in known:
        return complain(
            f"{source} wants the kernel {kernel}, which the environment does not have; there is {', '.join(sorted(known))}\n"
            "hint: add the package that brings it to the dependencies (r-irkernel for R)"
        )
    number_cells(notebook)
    cells = len(notebook.cells)

    def started(cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code":
            print(f"cell {cell_index + 1} of {cells}", file=sys.stderr, flush=True)

    def executed(cell: Any, **_: object) -> None:
        show(cell)

    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name=kernel,
        record_timing=False,
        config=Config(
            {"KernelManager": {"transport": "ipc"}}
        ),  # nobody else on the container's network is to talk to it
        resources={"metadata": {"path": os.path.dirname(os.path.abspath(source))}},
        on_cell_start=started,
        on_cell_executed=executed,
    )
    failed = ""
    try:
        client.execute()
    except CellExecutionError as error:
        failed = str(error)
    except DeadKernelError as error:
        failed = f"the kernel ended in the middle, for want of memory perhaps: {error}"
    except (AssertionError, KeyboardInterrupt):
        # On Ctrl-C nbclient takes the kernel away, and misses it afterwards.
        return complain("interrupted", status=130)
    finally:
        write(notebook, target)
    return complain(failed) if failed else 0


def number_cells(notebook: Any) -> None:
    """Give cells without an id, where the format wants one, always the same."""
    if notebook.nbformat_minor >= 5:
        for number, cell in enumerate(notebook.cells):
            cell.setdefault("id", f"cell-{number + 1}")


def show(cell: Any) -> None:
    """Print what a cell has printed, and the text of its results."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            print(output.text, end="", file=sys.stderr if output.name == "stderr" else sys.stdout)
        elif "text/plain" in output.get("data", {}):
            print(output.data["text/plain"])
    sys.stdout.flush()


def write(notebook: Any, target: str) -> None:
    """Write the notebook, whole or not at all."""
    temporary = f"{target}.part"
    with open(temporary, "w", encoding="utf-8") as file:
        nbformat.write(notebook, file)
    os.replace(temporary, target)


def complain(text: str, *, status: int = 1) -> int:
    """Say what went wrong, in colours on a terminal only, and return the exit status."""
    print(text if sys.stderr.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", text), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

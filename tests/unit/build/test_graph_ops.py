"""The graph's own functions: order, sharing, depth."""

from __future__ import annotations

from carboy.build.graph.ops import (
    BindMount,
    Copy,
    CopyItem,
    LocalContext,
    Run,
    Scratch,
    list_chain,
    list_inputs,
    list_ops,
)


def test_what_is_needed_comes_first_and_once() -> None:
    scratch, context = Scratch(), LocalContext()
    tools = Copy(parent=scratch, items=(CopyItem(origin=context, path="tools"),), destination="/")
    left = Run(parent=tools, args=("a",))
    right = Run(parent=tools, args=("b",), mounts=(BindMount(target="/m", origin=left),))
    end = Copy(
        parent=right, items=(CopyItem(origin=left, path="/x"), CopyItem(origin=context, path="y")), destination="/"
    )
    assert list_ops(end) == [scratch, context, tools, left, right, end]
    assert list_inputs(end) == (right, left, context)
    assert list_chain(end) == [scratch, tools, right, end]


def test_two_of_equal_words_are_two() -> None:
    scratch = Scratch()
    assert Run(parent=scratch, args=("a",)) != Run(parent=scratch, args=("a",))


def test_a_long_chain_is_no_recursion() -> None:
    state: Scratch | Run = Scratch()
    for _ in range(5000):
        state = Run(parent=state, args=("true",))
    assert len(list_ops(state)) == len(list_chain(state)) == 5001
    assert hash(state)

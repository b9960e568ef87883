from __future__ import annotations

from dataclasses import asdict

import pytest

from carboy.errors import CarboyError
from carboy.ledger.difference import Difference, compare_results, compare_runs
from carboy.ledger.files import find_changes, find_start, make_tree
from carboy.ledger.record import FORMAT, Mount, Output, RunRecord, Variable, encode_record, parse_record
from carboy.oci.digest import Digest

A, B, C = (Digest.of(text) for text in (b"a", b"b", b"c"))
CONTENTS = {"x": (A, 1, 10), "y/z": (B, 2, 20)}


def make_record(**changes: object) -> RunRecord:
    record = RunRecord(
        id="0" * 64,
        manifest=A,
        image="small:test",
        command=("sh", "-c", "true"),
        seed=7,
        started_at_s=1.5,
        platform="linux/amd64",
        version="0.1.0",
        env=(Variable(name="MODE", value="x"), Variable(name="TOKEN", value=None)),
        mounts=(
            Mount(
                kind="bind", source="/d", target="/in", text="type=bind,...", read_only=True, tree=make_tree(CONTENTS)
            ),
        ),
        outputs=(Output(path="/out/a", digest=B), Output(path="/out/gone", digest=None, before=A)),
        settings=(("network", '"none"'),),
        exit_status=0,
        state="ended",
    )
    return record.replace(**changes)


def test_a_record_is_read_as_it_was_written():
    record = make_record()
    data = encode_record(record)
    assert parse_record(data, name="0") == record
    assert data.endswith(b"}\n")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", encode_record(make_record()).replace(b"sha256:", b"md5:")])
def test_a_damaged_record_says_how_to_be_rid_of_it(data: bytes):
    with pytest.raises(CarboyError, match="is damaged") as caught:
        parse_record(data, name="abc")
    assert "carboy runs rm abc" in caught.value.hint


def test_a_record_of_a_later_version_is_not_misread():
    with pytest.raises(CarboyError, match="later carboy"):
        parse_record(encode_record(make_record(format=FORMAT + 1)), name="abc")


def test_a_tree_s_digest_covers_paths_and_contents_and_not_times():
    tree = make_tree(CONTENTS)
    assert (tree.count, tree.size_bytes, [item.path for item in tree.files]) == (2, 3, ["x", "y/z"])
    assert make_tree({"x": (A, 1, 99), "y/z": (B, 2, 0)}) == tree
    assert make_tree({"x": (A, 1, 10), "y/w": (B, 2, 20)}).digest != tree.digest
    assert make_tree({"x": (A, 1, 10), "y/z": (C, 2, 20)}).digest != tree.digest


def test_of_many_files_only_the_digest_is_kept():
    many = make_tree({f"{number:04}": (A, 1, 0) for number in range(1001)})
    assert (many.count, many.files) == (1001, ())


def test_what_a_run_wrote_is_found():
    after = {"x": (A, 1, 11), "new": (C, 1, 30)}
    assert find_changes(CONTENTS, after, target="/out") == (
        Output(path="/out/new", digest=C),
        Output(path="/out/x", digest=A, before=A),  # the same bytes, written again
        Output(path="/out/y/z", digest=None, before=B),
    )
    assert find_changes(CONTENTS, dict(CONTENTS), target="/out") == ()
    assert find_changes({".": (A, 1, 1)}, {".": (B, 1, 2)}, target="/f") == (Output(path="/f", digest=B, before=A),)


def test_a_folder_without_what_the_run_made_is_what_it_began_with():
    after = {**CONTENTS, "new": (C, 1, 30)}
    outputs = find_changes(CONTENTS, after, target="/out")
    assert find_start(after, outputs, target="/out") == CONTENTS
    assert find_start(after, outputs, target="/elsewhere") == after


def test_equal_runs_do_not_differ():
    assert compare_runs(make_record(), make_record(id="1" * 64, started_at_s=9.0, notes=("x",))) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 8}, ("seed", "", "7", "8")),
        ({"command": ("ls",)}, ("command", "", "sh -c true", "ls")),
        ({"manifest": B}, ("image", "", A.hex[:12], B.hex[:12])),
        ({"env": (Variable(name="MODE", value="x"),)}, ("env", "TOKEN", "(not kept)", "(none)")),
        ({"settings": ()}, ("option", "network", '"none"', "(none)")),
        ({"mounts": ()}, ("input", "/in", f"{make_tree(CONTENTS).digest.hex[:12]} (2 files)", "(none)")),
        ({"exit_status": 3}, ("exit status", "", "0", "3")),
        ({"secrets": ("src=/s,target=/t,mode=0400",)}, ("secret", "src=/s,target=/t,mode=0400", "(none)", "given")),
    ],
)
def test_what_differs_is_named(change: dict[str, object], expected: tuple[str, str, str, str]):
    (found,) = compare_runs(make_record(), make_record(**change))
    assert tuple(asdict(found).values()) == expected


def test_a_changed_input_is_named_by_its_file():
    mount = make_record().mounts[0]
    changed = Mount(
        kind=mount.kind, source=mount.source, target=mount.target, text=mount.text, read_only=True,
        tree=make_tree({"x": (C, 1, 1), "w": (B, 1, 1), "y/z": (B, 2, 2)}),
    )  # fmt: skip
    assert compare_runs(make_record(), make_record(mounts=(changed,))) == (
        Difference(kind="input", name="/in/w", before="(none)", after=B.hex[:12]),
        Difference(kind="input", name="/in/x", before=A.hex[:12], after=C.hex[:12]),
    )


def test_each_output_that_differs_is_named():
    other = make_record(outputs=(Output(path="/out/a", digest=C), Output(path="/out/more", digest=A)))
    assert [(item.name, item.before, item.after) for item in compare_results(make_record(), other)] == [
        ("/out/a", B.hex[:12], C.hex[:12]),
        ("/out/gone", "(not there)", "(none)"),
        ("/out/more", "(none)", A.hex[:12]),
    ]

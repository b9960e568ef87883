"""What the kernel's overlayfs makes of random trees and changes, compared with what carboy reads of the same trees.

Run as a program in a mount namespace of its own: ``overlays.py FOLDER SEED``. It exits with 0 when all is equal.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from carboy.layers.extract import extract
from carboy.snapshots.changes import diff, write_layer, write_root
from carboy.snapshots.merged import Folder, MergedRoot

NAMES = ["a", "b", "c", "d", "é", "lib"]
Tree = dict[bytes, tuple[object, ...]]


def fill(random_: random.Random, folder: Path, *, depth: int = 3) -> None:
    for name in random_.sample(NAMES, random_.randint(1, 4)):
        path = folder / name
        kind = random_.random()
        if kind < 0.5 and depth:
            path.mkdir()
            path.chmod(random_.choice([0o755, 0o700, 0o1777]))
            fill(random_, path, depth=depth - 1)
        elif kind < 0.8:
            path.write_text(random_.choice(["", "x", "yy" * 5000]))
        else:
            path.symlink_to(random_.choice(["/a", "../b", "nowhere"]))


def change(random_: random.Random, folder: Path) -> None:
    """Do one thing to a tree, as a process in the container could."""
    paths = sorted(folder.rglob("*"))
    if not paths:
        return
    path = random_.choice(paths)
    action = random_.choice(["write", "remove", "make", "chmod", "replace", "link", "rename"])
    is_folder = path.is_dir() and not path.is_symlink()
    if action == "write" and path.is_file() and not path.is_symlink():
        path.write_text(str(random_.random()))
    elif action == "remove":
        shutil.rmtree(path) if is_folder else path.unlink()
    elif action == "make" and is_folder:
        name = path / random_.choice(NAMES)
        if not os.path.lexists(name):
            random_.choice([name.mkdir, name.touch])()
    elif action == "chmod" and not path.is_symlink():
        path.chmod(random_.choice([0o700, 0o755, 0o4755]))
    elif action == "replace":
        shutil.rmtree(path) if is_folder else path.unlink()
        random_.choice([path.mkdir, path.touch, lambda: path.symlink_to("z")])()
    elif action == "link" and path.is_file() and not path.is_symlink():
        name = path.parent / f"link{random_.randint(0, 3)}"
        if not name.exists():
            os.link(path, name)
    elif action == "rename" and not is_folder:
        target = path.parent / f"moved{random_.randint(0, 3)}"
        if not os.path.lexists(target):
            os.rename(path, target)


def read_tree(folder: Folder, prefix: bytes = b"") -> Tree:
    """Return what carboy sees; the folder is closed."""
    tree: Tree = {}
    with folder:
        for name in folder.names():
            entry = folder.lookup(name)
            assert entry is not None
            status, path = entry.status, prefix + b"/" + name
            content: bytes | None = None
            if entry.is_link:
                content = folder.readlink(name)
            elif not entry.is_folder:
                fd = folder.open_file(name)
                content = os.read(fd, 2**20)
                os.close(fd)
            tree[path] = (
                status.st_mode,
                content,
                *folder.owner(status),
                0 if entry.is_folder else status.st_mtime_ns // 10**9,
            )
            if entry.is_folder:
                tree |= read_tree(folder.open_folder(name), path)
    return tree


def read_kernel(folder: bytes) -> Tree:
    """Return what the kernel shows."""
    tree: Tree = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            full = above + b"/" + name
            status = os.lstat(full)
            content: bytes | None = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(full)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(full)).read_bytes()
            is_folder = stat.S_ISDIR(status.st_mode)
            mtime = 0 if is_folder else status.st_mtime_ns // 10**9
            tree[full.removeprefix(folder)] = (status.st_mode, content, status.st_uid, status.st_gid, mtime)
    return tree


def main(base: Path, seed: int) -> None:
    random_ = random.Random(seed)
    for name in ("l0", "l1", "up", "work", "mnt", "again", "flat"):
        (base / name).mkdir(parents=True)
    fill(random_, base / "l0")
    fill(random_, base / "l1")
    lowers = [str(base / "l0"), str(base / "l1")]
    before = read_tree(MergedRoot(lowers).open())
    options = f"lowerdir={base}/l1:{base}/l0,upperdir={base}/up,workdir={base}/work,userxattr"
    for _ in range(2):  # the second time over changes that are there
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(base / "mnt")], check=True)
        for _ in range(random_.randint(0, 12)):
            change(random_, base / "mnt")
        shown = read_kernel(os.fsencode(base / "mnt"))
        subprocess.run(["umount", str(base / "mnt")], check=True)
        root = MergedRoot(lowers, str(base / "up"))
        assert read_tree(root.open()) == shown
    check_diff(before, shown, {change.path: change.kind for change in diff(str(base / "up"), lowers)})

    layer = io.BytesIO()
    write_layer(str(base / "up"), layer)
    layer.seek(0)
    extract(layer, str(base / "again"))
    assert read_tree(MergedRoot([*lowers, str(base / "again")]).open()) == shown

    whole = io.BytesIO()
    write_root(root, whole)
    whole.seek(0)
    extract(whole, str(base / "flat"))
    assert read_tree(MergedRoot([str(base / "flat")]).open()) == shown


def check_diff(before: Tree, after: Tree, changes: dict[bytes, str]) -> None:
    """What differs is in the list with the right letter; what is in the list may be unchanged (written again), never wrong."""
    for path in before.keys() | after.keys():
        above = path.rpartition(b"/")[0]
        if path not in after:
            covered = changes.get(path) == "D" or above not in after or not stat.S_ISDIR(int(str(after[above][0])))
            assert covered, (path, changes)
        elif path not in before:
            assert changes.get(path) == "A", (path, changes)
        elif before[path] != after[path]:
            assert changes.get(path) == "C", (path, changes)
    for path, kind in changes.items():
        assert (kind == "D") == (path not in after), (path, kind)
        assert (kind == "A") == (path in after and path not in before), (path, kind)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

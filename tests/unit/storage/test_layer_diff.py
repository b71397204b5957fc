"""Differences of stacks of layers that are made by hand."""

import os
from pathlib import Path

import pytest

from storage.errors import StoreUnusable
from storage.layer_diff import diff_layers
from storage.layout import Layout
from storage.remove import remove_tree
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX
from tests.unit.storage.stores import KEY, new_store

Files = dict[str, str]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


def layer(layout: Layout, name: str, files: Files) -> str:
    """Make an unpacked layer; a value of None stands for a directory."""
    root = Path(layout.layer_diff(KEY, name))
    root.mkdir(parents=True)
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            target.symlink_to(text[3:])
        else:
            target.write_text(text)
            os.utime(target, (1, 1))
    return name


def white(path: str) -> str:
    directory, _, name = path.rpartition("/")
    return f"{directory}/{WHITEOUT_PREFIX.decode()}{name}".removeprefix("/")


def diff(layout: Layout, old: list[Files], new: list[Files]) -> list[str]:
    stacks = [
        tuple(layer(layout, f"{side}{at}", files) for at, files in enumerate(stack))
        for side, stack in (("old", old), ("new", new))
    ]
    return [
        f"{change.kind} {os.fsdecode(change.path)}"
        for change in diff_layers(layout, KEY, stacks[0], stacks[1])
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param([], [{"a/b": "x"}], ["A /a", "A /a/b"], id="added"),
        pytest.param([{"a/b": "x"}], [], ["D /a"], id="deleted-in-whole"),
        pytest.param([{"a/b": "x"}], [{"a/b": "x"}], [], id="same"),
        pytest.param([{"a/b": "x"}], [{"a/b": "longer"}], ["C /a", "C /a/b"], id="changed"),
        pytest.param([{"l": "-> a"}], [{"l": "-> b"}], ["C /l"], id="link"),
        pytest.param(
            [{"a/b": "x"}], [{"a/b": "x"}, {"a/c": "y"}], ["C /a", "A /a/c"], id="layer-more"
        ),
        pytest.param(
            [{"a/b": "x", "a/c": "y"}],
            [{"a/b": "x", "a/c": "y"}, {white("a/b"): ""}],
            ["C /a", "D /a/b"],
            id="whiteout",
        ),
        pytest.param(
            [{"a/b": "x", "a/c": "y"}],
            [{"a/b": "x"}, {f"a/{OPAQUE_FILE.decode()}": "", "a/c": "y"}],
            ["C /a", "D /a/b"],
            id="opaque",
        ),
        pytest.param(
            [{"a/b": "x"}],
            [{"a/b": "x"}, {white("a"): ""}, {"a/c": "y"}],
            ["C /a", "D /a/b", "A /a/c"],
            id="removed-and-made-again",
        ),
        pytest.param(
            [{"a/b": "x"}], [{"a/b": "x"}, {"a": "file"}], ["C /a"], id="file-for-directory"
        ),
        pytest.param(
            [{"a": "file"}],
            [{"a": "file"}, {"a/b": "x"}],
            ["C /a", "A /a/b"],
            id="directory-for-file",
        ),
        pytest.param(
            [{"a/b": "x"}],
            [{"a/b": "x"}, {"a": "file"}, {white("a"): ""}, {"a/c": "y"}],
            ["C /a", "D /a/b", "A /a/c"],
            id="many-changes-of-mind",
        ),
    ],
)
def test_difference(
    layout: Layout, old: list[Files], new: list[Files], expected: list[str]
) -> None:
    assert diff(layout, old, new) == expected


def test_mode_of_a_directory_counts_but_not_its_time(layout: Layout) -> None:
    one, two = (layer(layout, name, {"a/b": "x"}) for name in ("one", "two"))
    path = f"{layout.layer_diff(KEY, two)}/a"
    os.utime(path, (5, 5))
    assert diff_layers(layout, KEY, (one,), (two,)) == []
    os.chmod(path, 0o700)
    changes = diff_layers(layout, KEY, (one,), (two,))
    assert [(change.kind, change.path) for change in changes] == [("C", b"/a")]


def test_links_of_an_image_are_not_followed(layout: Layout) -> None:
    assert diff(layout, [], [{"out": "-> /etc", "up": "-> ../../.."}]) == ["A /out", "A /up"]


def test_deep_directories_are_compared(layout: Layout) -> None:
    path = layout.layer_diff(KEY, layer(layout, "deep", {"f": "x"}))
    for _ in range(1200):
        path += "/a"
        os.mkdir(path)
    changes = diff_layers(layout, KEY, (), ("deep",))
    # pytest cannot remove it: shutil goes down by recursion.
    remove_tree(layout.layers_dir(KEY))
    assert len(changes) == 1201


def test_missing_layer_is_an_error(layout: Layout) -> None:
    with pytest.raises(StoreUnusable, match="compare layers"):
        diff_layers(layout, KEY, (), ("absent",))

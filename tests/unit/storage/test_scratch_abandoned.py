"""What killed commands left under tmp/ is noticed by its name and removed by its lock."""

import os
from pathlib import Path

from storage.files import make_store
from storage.layout import Layout
from storage.scratch import Scratch, has_abandoned, sweep


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_entry_of_a_dead_process_is_abandoned(tmp_path: Path) -> None:
    layout = Layout(f"{tmp_path}/store", f"{tmp_path}/run")
    make_store(layout)
    with Scratch(layout, "container"):
        assert not has_abandoned(layout)
        os.mkdir(f"{layout.tmp_dir}/container-{dead_pid()}-0123456789ab")
        assert has_abandoned(layout)
        assert sweep(layout) == 1
        assert not has_abandoned(layout)


def test_store_that_is_not_there_has_nothing_abandoned(tmp_path: Path) -> None:
    assert not has_abandoned(Layout(f"{tmp_path}/store", f"{tmp_path}/run"))

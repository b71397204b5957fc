"""Which ranks belong together, and what joining them loads."""

import subprocess
import sys

import pytest

from rootless.container.rank import step_tag
from rootless.container.ranks import expected_ranks
from rootless.errors import UsageError


@pytest.mark.parametrize(
    ("tag", "environ", "found"),
    [
        ("mine", {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "2"}, "tag-mine"),
        ("", {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "2", "PMIX_NAMESPACE": "n"}, "1-2"),
        ("", {"SLURM_JOB_ID": "1", "PMIX_NAMESPACE": "prte-h@1/../x"}, "prte-h_1____x"),
        ("", {"PALS_APID": "a.b"}, "a_b"),
    ],
)
def test_the_step_of_the_job_is_what_ranks_share(
    tag: str, environ: dict[str, str], found: str
) -> None:
    assert step_tag(tag, environ) == found


def test_without_a_job_the_parent_is() -> None:
    assert step_tag("", {}).startswith("parent-")


@pytest.mark.parametrize("tag", ["a/b", "..", "a b"])
def test_a_tag_is_a_plain_word(tag: str) -> None:
    with pytest.raises(UsageError, match="only letters"):
        step_tag(tag, {})


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),
        ({"MPI_LOCALNRANKS": "2"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)"}, 8),
        ({"SLURM_STEP_TASKS_PER_NODE": "8,2"}, 0),
        ({}, 0),
    ],
)
def test_how_many_ranks_a_node_gets(environ: dict[str, str], count: int) -> None:
    assert expected_ranks(environ) == count


def test_joining_loads_neither_the_command_line_nor_the_store() -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n"
    program += "import rootless.cli.joining\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True
    )
    modules = set(done.stdout.split())
    ours = {name for name in modules if name.startswith(("rootless.", "slirp.", "storage."))}
    assert not ours & {
        "rootless.cli.fast", "rootless.cli.main", "rootless.cli.table", "rootless.config",
        "rootless.container.create", "rootless.host.paths", "storage.containers",
        "storage.layout",
    }  # fmt: skip
    assert len(ours) <= 25, ours
    assert not modules & {"click", "dataclasses", "enum", "json", "re", "typing", "tomli"}

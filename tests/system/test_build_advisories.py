"""`build`: what the advisories about buildah, podman build and BuildKit describe, tried here.

Each test builds the Containerfile of an attacker and then looks at what it was after. Archives are
in `test_build_files`, links and working directories in `test_build_hostile`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.support.command import Command, Done

pytestmark = pytest.mark.rpod_only

Build = Callable[..., Done]
SECRET = "of the host"


@pytest.fixture
def victim(account_dir: str) -> str:
    """A directory of the caller that no build is given; accounts in it that no image has."""
    path = f"{account_dir}/victim"
    os.makedirs(f"{path}/sub")
    for name, text in (("file", SECRET), ("sub/file", SECRET), ("passwd", "mallory:x:77:88::/:\n")):
        with open(f"{path}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    subprocess.run(["chmod", "-R", "a+rwX", path], check=True)
    return path


@pytest.fixture
def build(rpod: Command, image: str, account_dir: str, victim: str) -> Build:
    """Build `made`; afterwards the victim is as before, and nothing of it was shown."""
    context = f"{account_dir}/context"
    os.makedirs(context)
    os.chmod(context, 0o755)

    def run(source: str, *options: str, check: bool = False) -> Done:
        with open(f"{context}/Containerfile", "w", encoding="utf-8") as file:
            file.write(source.replace("BASE", image).replace("VICTIM", victim))
        done = rpod("build", "-t", "made", *options, context, check=check)
        assert SECRET not in done.out + done.err
        found = sorted(
            os.path.join(top, name) for top, _, names in os.walk(victim) for name in names
        )
        assert found == [f"{victim}/file", f"{victim}/passwd", f"{victim}/sub/file"]
        for name in ("file", "sub/file"):
            with open(f"{victim}/{name}", encoding="ascii") as file:
                assert file.read() == SECRET
        return done

    return run


READ = "cat /m /m/file /m/sub/file; echo changed >/m/file; echo new >/m/new; rm -rf /m/sub"


@pytest.mark.parametrize("option", ["", ",rw", ",ro=false"])
@pytest.mark.parametrize("source", ["/link", "/link/sub", "/deep/link", "/dots", "/proc"])
def test_cve_2024_1753_source_of_a_bind_is_a_link(build: Build, source: str, option: str) -> None:
    done = build(
        "FROM BASE AS evil\nRUN ln -s VICTIM /link; mkdir /deep; ln -s ../link /deep/link;"
        " ln -s ../../../../../../../..VICTIM /dots; rm -rf /proc; ln -s VICTIM /proc; true\n"
        f"FROM BASE\nRUN --mount=type=bind,from=evil,source={source},target=/m{option} {READ}; :\n"
    )
    assert done.code in (0, 125)


def test_cve_2024_9675_cache_is_a_directory_of_the_host(build: Build) -> None:
    for mount in (
        "id=../../../../../../../../../../..VICTIM,target=/m",
        "id=VICTIM,target=/m",
        "from=evil,source=/link,target=/m",
        "source=../../../../../../../../../..VICTIM,target=/m",
        "source=VICTIM,target=/m",
    ):
        build(
            "FROM BASE AS evil\nRUN ln -s VICTIM /link\n"
            f"FROM BASE\nRUN --mount=type=cache,{mount} {READ}; :\n"
        )


FLIP = (
    "i=0; while [ $i -lt 1000 ]; do"
    " rm -rf /c/x; ln -s VICTIM /c/x; rm /c/x; mkdir /c/x; i=$((i+1)); done"
)


@pytest.mark.parametrize("kind", ["bind,from=third,source=/etc", "tmpfs", "cache,id=other"])
def test_cve_2024_11218_23651_stages_race_for_a_place(build: Build, kind: str) -> None:
    """One stage swaps a directory of a shared cache for a link while others mount into it."""
    cache = "--mount=type=cache,id=advisory,target=/c"
    hits = "".join(
        f"RUN {cache} --mount=type={kind},target=/c/x/sub cat /c/x/file /c/x/sub/file;"
        f" echo changed >/c/x/sub/new; : {number}\n"
        for number in range(8)
    )
    done = build(
        f"FROM BASE AS third\nFROM BASE AS swaps\nRUN {cache} {FLIP}; touch /done\n"
        f"FROM BASE AS mounts\n{hits}RUN touch /done\n"
        "FROM BASE\nCOPY --from=swaps /done /1\nCOPY --from=mounts /done /2\n",
        "--jobs=3", "--no-cache",
    )  # fmt: skip
    assert done.code in (0, 125)
    assert "Traceback" not in done.err


def test_cve_2024_11218_race_for_the_source_of_a_bind(build: Build) -> None:
    """The source of a bind is in a stage, which never changes: nobody can swap it."""
    swap = FLIP.replace("/c/", "/s/")
    build(
        "FROM BASE AS source\nRUN mkdir -p /s/x/sub\nFROM BASE AS swaps\n"
        f"RUN --mount=type=bind,from=source,source=/s,target=/s,rw {swap}\n"
        "FROM BASE\n"
        + "".join(
            f"RUN --mount=type=bind,from=source,source=/s/x,target=/m,rw {READ}; : {number}\n"
            for number in range(6)
        )
        + "COPY --from=swaps /etc/passwd /\n",
        "--jobs=3", "--no-cache",
    )  # fmt: skip


@pytest.mark.parametrize(
    "option",
    ["bind-propagation=shared", "bind-propagation=rshared,rw", "bind-propagation=rw,rbind",
     "bind-propagation=dev", "propagation=rslave", "U", "suid", "exec", "rbind"],
)  # fmt: skip
def test_cve_2024_9407_options_reach_no_mount(build: Build, option: str) -> None:
    done = build(f"FROM BASE\nRUN --mount=type=bind,source=/,target=/m,{option} {READ}; :\n")
    assert done.code == 125
    assert "Containerfile:2" in done.err


@pytest.mark.parametrize("file", ["passwd", "group"])
@pytest.mark.parametrize("what", ["ln -s VICTIM/passwd", "mkfifo", "mkdir", "ln -s /dev/zero"])
def test_cve_2024_9676_accounts_of_an_image_are_something_else(
    build: Build, file: str, what: str
) -> None:
    """Neither is a link followed out of the image, nor is read what never ends."""
    order = f"{what} /etc/{file}"
    started_s = time.monotonic()
    base = f"FROM BASE\nRUN rm -f /etc/{file}; {order}\n"
    chown = "mallory" if file == "passwd" else "0:mallory"
    for line in (f"COPY --chown={chown} Containerfile /x", f"USER {chown}\nRUN id -u"):
        done = build(f"{base}{line}\n")
        assert done.code != 0
        assert "\n77\n" not in done.out
    assert time.monotonic() - started_s < 20


STUBS = {
    "a moved parent": ("--mount=type=tmpfs,target=/a/b/file", "mv /a /gone; ln -s VICTIM /a; "
                       "mkdir -p /a/b; ln -s VICTIM /gone/b/c"),
    "a link for the stub": ("--mount=type=cache,target=/d/sub", "mv /d /gone; ln -s VICTIM /d"),
    "a file's stub": ("--mount=type=bind,source=Containerfile,target=/e/file",
                      "mv /e /gone; ln -s VICTIM /e"),
    "a secret's stub": ("--mount=type=secret,id=s,target=/f/file", "mv /f /gone; ln -s VICTIM /f"),
    "below a link of the image": ("--mount=type=tmpfs,target=/link/sub", "true"),
}  # fmt: skip


@pytest.mark.parametrize(("mount", "order"), STUBS.values(), ids=STUBS)
def test_cve_2024_23652_removing_of_stubs_stays_inside(
    build: Build, account_dir: str, mount: str, order: str
) -> None:
    with open(f"{account_dir}/token", "w", encoding="ascii") as file:
        file.write("x")
    done = build(
        f"FROM BASE\nRUN ln -s VICTIM /link\nRUN {mount} {order}; :\nRUN true\n", "--no-cache",
        f"--secret=id=s,src={account_dir}/token",
    )  # fmt: skip
    assert done.code == 0, done.told


@pytest.mark.parametrize("flag", ["--security=insecure", "--network=host"])
@pytest.mark.parametrize("where", ["stage", "onbuild", "syntax"])
def test_cve_2024_23653_no_right_without_the_caller(build: Build, flag: str, where: str) -> None:
    """Neither a line, nor a trigger of the base image, nor a frontend gives an entitlement."""
    if where == "onbuild":
        build(f"FROM BASE\nONBUILD RUN {flag} echo executed\n", "-t=localhost/evil", check=True)
        done = build("FROM localhost/evil\n")
    else:
        first = "# syntax=localhost/evil-frontend\n" if where == "syntax" else ""
        done = build(f"{first}FROM BASE\nRUN {flag} echo executed\n")
    assert done.code == 125
    assert "--allow" in done.err
    assert "\nexecuted" not in done.out


def test_cve_2022_27651_step_has_no_inheritable_capabilities(build: Build) -> None:
    done = build(
        "FROM BASE\nUSER alice\nRUN grep Cap /proc/self/status | tr -d '\\t' | sed 's/^/= /'\n",
        "--no-cache", check=True,
    )  # fmt: skip
    found = dict(line[2:].split(":") for line in done.lines if line.startswith("= "))
    empty = "0" * 16
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {empty}


def test_cve_2021_3602_step_does_not_see_the_callers_variables(
    rpod: Command, build: Build, account_dir: str
) -> None:
    source = (
        "FROM BASE\nRUN env; for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/environ; done;"
        " for i in 1 $PPID $$; do cat /proc/$i/environ; done; :\n"
    )
    build(source, "--no-cache", check=True)
    done = rpod("build", "--no-cache", f"{account_dir}/context", env={"TOKEN": "confidential-7"})
    assert "PATH=" in done.out
    assert "confidential-7" not in done.out + done.err


def test_cve_2022_36109_step_has_the_groups_of_its_user_only(build: Build) -> None:
    done = build(
        "FROM BASE\nRUN sed 's/^/= /' /proc/self/status | grep Groups | tr -d '\\t'\n"
        "USER 4242:77\nRUN sed 's/^/= /' /proc/self/status | grep Groups | tr -d '\\t'\n",
        "--no-cache", check=True,
    )  # fmt: skip
    lines = [line.strip() for line in done.lines if line.startswith("= Groups")]
    assert lines[1] == "= Groups:77"
    assert str(os.getgid()) not in lines[0].split(":")[1].split() or os.getgid() == 0


def test_cve_2019_13139_repository_is_no_option_of_git(
    rpod: Command, account_dir: str, victim: str
) -> None:
    if shutil.which("git") is None:
        pytest.skip("not installed: git")
    order = f"touch {victim}/new"
    for where in (
        f"git@localhost:--upload-pack={order};#x",
        f"git://127.0.0.1:1/x.git#--upload-pack={order}",
        f"https://127.0.0.1:1/x.git#:--output={victim}/new",
        f"git://-oProxyCommand={order}/x.git",
        f"ssh://-oProxyCommand={order}/x.git",
        f"-oProxyCommand={order}@x:y.git",
    ):
        done = rpod("build", "--retry=0", where, check=False)
        assert done.code in (2, 125), done.told
        done = rpod(
            "build", "--retry=0", "-", check=False,
            input=f"FROM scratch\nADD {where} /x\n".encode(),
        )  # fmt: skip
        assert done.code == 125, done.told
    assert sorted(os.listdir(victim)) == ["file", "passwd", "sub"]

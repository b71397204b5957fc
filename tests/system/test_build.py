"""`build`: the language, the steps, the cache."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pexpect
import pytest

from tests.support import leaks
from tests.support.command import Command, Done, is_podman

rpod_only = pytest.mark.skipif(is_podman(), reason="rpod's own")
Build = Callable[..., Done]


@pytest.fixture
def build(rpod: Command, image: str, account_dir: str) -> Build:
    """Build `made` from a Containerfile on the test image, and files of a context."""

    def run(
        source: str, *options: str, files: dict[str, str] | None = None, check: bool = True
    ) -> Done:
        for name, content in {
            "Containerfile": source.replace("BASE", image),
            **(files or {}),
        }.items():
            path = f"{account_dir}/context/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        for path, _, _ in os.walk(f"{account_dir}/context"):
            os.chmod(path, 0o755)
        words = () if "-t" in options else ("-t", "made")
        return rpod("build", *words, *options, f"{account_dir}/context", check=check)

    return run


def run_made(rpod: Command, *command: str) -> list[str]:
    return rpod("run", "--rm", "made", *command).lines


def config(rpod: Command) -> dict[str, object]:
    found = json.loads(rpod("inspect", "made").out)[0]["Config"]
    assert isinstance(found, dict)
    return found


def steps(done: Done) -> tuple[int, int]:
    """Return how many steps were found in the cache, and how many were executed."""
    hits = sum(line.startswith("--> Using cache") for line in done.lines)
    misses = sum(line.startswith("--> Not in the cache") for line in done.lines)
    return hits, misses


def test_build_makes_an_image(rpod: Command, build: Build) -> None:
    done = build(
        "FROM BASE\nARG WHO=world\nENV A=1 B='two words'\nWORKDIR /srv/app\n"
        "RUN echo hello $WHO >out && mkdir -p /x/y && rm /bin/vi\nCOPY one /data/\nUSER alice\n"
        'LABEL x="a b"\nEXPOSE 80\nVOLUME /vol\nSTOPSIGNAL SIGINT\nENTRYPOINT ["cat"]\n'
        'CMD ["out"]\n',
        files={"one": "1"},
    )
    assert done.lines[-1] == rpod("inspect", "--format", "{{.Id}}", "made").out.strip()
    assert run_made(rpod) == ["hello world"]
    assert run_made(rpod, "/data/one") == ["1"]
    found = config(rpod)
    assert found["User"] == "alice"
    assert found["WorkingDir"] == "/srv/app"
    assert found["Entrypoint"] == ["cat"]
    assert found["Cmd"] == ["out"]
    assert found["StopSignal"] == "SIGINT"
    labels, environment = found["Labels"], found["Env"]
    assert isinstance(labels, dict)
    assert isinstance(environment, list)
    assert labels["x"] == "a b"
    assert {"A=1", "B=two words"} <= set(environment)
    gone = rpod("run", "--rm", "--entrypoint", "ls", "made", "/bin/vi", check=False)
    assert "No such file" in gone.err


@rpod_only
def test_layers_have_only_what_changed(rpod: Command, build: Build) -> None:
    build("FROM BASE\nRUN true\n")
    assert rpod("image", "diff", "made").out == ""


@rpod_only
def test_rebuild_executes_nothing_and_gives_the_same_image(rpod: Command, build: Build) -> None:
    source = "FROM BASE\nENV A=1\nWORKDIR /w\nRUN date >now\nCOPY one .\nRUN date >>now\nCMD sh\n"
    first = build(source, "--explain-cache", files={"one": "1"})
    time.sleep(1.1)
    second = build(source, "--explain-cache", files={"one": "1"})
    assert (steps(first), steps(second)) == ((0, 4), (4, 0))
    assert first.lines[-1] == second.lines[-1]
    changed = build(source, "--explain-cache", files={"one": "2"})
    assert steps(changed) == (2, 2)
    assert "--> Not in the cache: changed: files" in changed.lines
    argument = build(source.replace("A=1", "A=2"), "--explain-cache")
    assert "--> Not in the cache: changed: variable A" in argument.lines
    assert steps(build(source, "--no-cache", "--explain-cache")) == (0, 4)
    time.sleep(1.1)
    assert steps(build(source, "--cache-ttl=1s", "--explain-cache"))[0] == 0


def test_stages_that_nothing_needs_are_not_built(rpod: Command, build: Build) -> None:
    build(
        "FROM BASE AS one\nRUN echo 1 >/one\nFROM BASE AS unused\nRUN false\n"
        "FROM BASE\nCOPY --from=one /one /copied\nRUN cat /copied\n"
    )
    assert run_made(rpod, "cat", "/copied") == ["1"]
    build("FROM BASE AS one\nRUN echo 1 >/one\nFROM BASE\nRUN false\n", "--target=one")
    assert run_made(rpod, "cat", "/one") == ["1"]


@rpod_only
def test_stages_are_built_side_by_side(rpod: Command, build: Build) -> None:
    """Each waits for a file that the other makes in what they share."""
    wait = (
        "RUN --mount=type=cache,id={id},target=/c touch /c/{own}; n=0;"
        " while [ ! -e /c/{other} ]; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done;"
        " echo {own} >/{own}"
    )
    name = f"meet-{time.time_ns()}"
    build(
        f"FROM BASE AS a\n{wait.format(id=name, own='a', other='b')}\n"
        f"FROM BASE AS b\n{wait.format(id=name, own='b', other='a')}\n"
        "FROM BASE\nCOPY --from=a /a /\nCOPY --from=1 /b /\n",
        "--jobs=2",
    )
    assert run_made(rpod, "cat", "/a", "/b") == ["a", "b"]


def test_failing_step_names_its_line(build: Build) -> None:
    done = build("FROM BASE\nRUN echo last words; \\\n  exit 7\n", check=False)
    assert done.code == 7 or is_podman()
    assert "last words" in done.out
    if not is_podman():
        assert "Containerfile:2: the command" in done.err
        assert "    2 | RUN echo last words; \\" in done.err


@rpod_only
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("FROM BASE\nRUNN x\n", "Containerfile:2: unknown instruction RUNN"),
        ("FROM BASE\nCOPY missing /\n", "Containerfile:2:"),
        ("FROM BASE\nUSER nobody-here\nRUN true\n", "Containerfile:3: USER: unable to find user"),
        ("FROM none/such:tag\n", "Containerfile:1:"),
        ("FROM BASE\nENV A=${B\n", "Containerfile:2: ${B has no closing brace"),
        ("FROM BASE\nRUN --mount=type=cache true\n", "Containerfile:2: --mount=type=cache: a t"),
        ("FROM BASE\nRUN --mount=type=bind,source=gone,target=/x true\n", "Containerfile:2:"),
        ("FROM BASE\nRUN --mount=type=secret,id=s,required true\n", "Containerfile:2: secret s"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(build: Build, source: str, message: str) -> None:
    done = build(source, "--pull=never", check=False)
    assert done.code == 125
    assert message in done.err
    assert "Traceback" not in done.err


@rpod_only
def test_heredocs_are_scripts_and_files(rpod: Command, build: Build) -> None:
    build(
        "FROM BASE\nARG NAME=arg\nRUN <<EOF\nset -e\necho one >/one\necho two >>/one\nEOF\n"
        "RUN cat <<A >/two && cat <<'B' >>/two\n$NAME\nA\n$NAME\nB\n"
        'RUN <<EOF\n#!/bin/awk -f\nBEGIN { print "awk" >"/three" }\nEOF\n'
        "COPY <<file.txt /four\n$NAME\nfile.txt\n"
    )
    assert run_made(rpod, "cat", "/one", "/two", "/three", "/four") == [
        "one", "two", "arg", "$NAME", "awk", "arg"
    ]  # fmt: skip


@rpod_only
def test_shell_and_exec_forms(rpod: Command, build: Build) -> None:
    build(
        'FROM BASE\nENV V=v\nRUN ["/bin/sh", "-c", "echo $V >/exec"]\n'
        'SHELL ["/bin/sh", "-xc"]\nRUN echo $V >/shell\nCMD echo $V\n'
    )
    assert run_made(rpod) == ["v"]
    assert config(rpod)["Cmd"] == ["/bin/sh", "-xc", "echo $V"]


def test_entrypoint_resets_the_command_of_the_base(rpod: Command, build: Build) -> None:
    build("FROM BASE\nCMD inherited\n", "-t", "parent")
    build('FROM parent\nENTRYPOINT ["true"]\n')
    assert config(rpod).get("Cmd") is None


@rpod_only
def test_onbuild_runs_in_the_child(rpod: Command, build: Build) -> None:
    build("FROM BASE\nONBUILD RUN echo trigger >/trigger\nONBUILD ENV T=1\n", "-t", "parent")
    build("FROM parent\nRUN cat /trigger >/seen; echo $T >>/seen\n")
    assert run_made(rpod, "cat", "/seen") == ["trigger", "1"]
    assert not config(rpod).get("OnBuild")


@rpod_only
def test_onbuild_may_copy_from_a_stage_of_the_child(rpod: Command, build: Build) -> None:
    build("FROM BASE\nONBUILD COPY --from=files /f /copied\n", "-t", "parent")
    build("FROM BASE AS other\nRUN echo of-the-stage >/f\nFROM other AS files\nFROM parent\n")
    assert run_made(rpod, "cat", "/copied") == ["of-the-stage"]
    missing = build("FROM parent\nRUN true\n", check=False)
    assert missing.code == 125
    assert "files" in missing.err
    of_a_stage = (
        "FROM BASE AS files\nRUN echo 2 >/f\nFROM BASE AS p\nONBUILD COPY --from=files /f /\n"
    )
    build(f"{of_a_stage}FROM p\nRUN cat /f >/seen\n")
    assert run_made(rpod, "cat", "/seen") == ["2"]


@rpod_only
def test_secret_is_seen_by_its_step_only(rpod: Command, build: Build, account_dir: str) -> None:
    with open(f"{account_dir}/token", "w", encoding="ascii") as file:
        file.write("tr0ub4dor")
    done = build(
        "FROM BASE\nRUN --mount=type=secret,id=t --mount=type=secret,id=t,env=T "
        'sha256sum </run/secrets/t >/sum; [ "$T" = $(cat /run/secrets/t) ]; '
        "stat -c '%a %u' /run/secrets/t >>/sum\n",
        f"--secret=id=t,src={account_dir}/token",
    )
    assert "tr0ub4dor" not in done.out + done.err
    lines = run_made(rpod, "cat", "/sum")
    assert lines[0].startswith("8d2e7c9e") or len(lines[0]) > 60
    assert lines[1] == "400 0"
    assert run_made(rpod, "sh", "-c", "ls /run/secrets /run 2>/dev/null; echo end")[-1] == "end"
    store = f"{rpod.account.home}/.local/share/rpod"
    found = rpod.shell(
        f"grep -rl tr0ub4dor {store}/build-cache {store}/blobs {store}/layers", check=False
    )
    assert found.out == ""


def test_cache_mount_lasts_and_is_in_no_layer(rpod: Command, build: Build) -> None:
    name = f"cache-{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/var/cache/x"
    build(f"FROM BASE\nRUN {mount} echo kept >/var/cache/x/f\n")
    build(f"FROM BASE\nRUN {mount} cat /var/cache/x/f >/seen\n")
    assert run_made(rpod, "cat", "/seen") == ["kept"]
    assert run_made(rpod, "sh", "-c", "ls /var/cache/x 2>/dev/null; echo end") == ["end"]


@rpod_only
def test_bind_mount_is_part_of_the_key_and_writes_are_dropped(rpod: Command, build: Build) -> None:
    source = (
        "FROM BASE AS made\nRUN echo stage >/from-stage\nFROM BASE\n"
        "RUN --mount=target=/c,rw --mount=from=made,target=/m"
        " cat /c/one /m/from-stage >/seen; echo lost >/c/one; ! echo x >/m/new\n"
    )
    build(source, files={"one": "1\n"})
    assert run_made(rpod, "cat", "/seen") == ["1", "stage"]
    build(source, files={"one": "2\n"})
    assert run_made(rpod, "cat", "/seen") == ["2", "stage"]


@rpod_only
@rpod_only
@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of others")
def test_bind_mount_of_files_of_others_can_be_changed(
    rpod: Command, build: Build, account_dir: str
) -> None:
    """As with docker all files of the context are root's, and what is written is dropped."""
    files = {"others/f": "old\n", "others/d/g": "g\n", "others/group": "readable\n"}
    script = (
        "stat -c %u:%g /m/others/f; cat /m/others/group; echo new >>/m/others/f; "
        "echo x >/m/others/d/h; rm /m/others/d/g; cat /m/others/f; ls /m/others/d"
    )
    source = (
        f"FROM BASE\nRUN --mount=type=bind,target=/m,rw set -e; ({script}) >/1\n"
        "RUN --mount=type=bind,source=/others,target=/m (cat /m/f /m/d/g; echo x >/m/f) >/2 || :\n"
    )
    build("FROM BASE\n", files=files)
    for name in ("", "/f", "/d", "/d/g", "/group"):
        os.chown(f"{account_dir}/context/others{name}", 0, 0)
    os.chown(f"{account_dir}/context/others/group", 0, rpod.account.gid)
    os.chmod(f"{account_dir}/context/others/group", 0o640)
    with open(f"{account_dir}/context/Containerfile", "r+", encoding="ascii") as file:
        base = file.read().split()[1]
        file.seek(0)
        file.write(source.replace("BASE", base))
    rpod("build", "-t", "made", f"{account_dir}/context")
    assert run_made(rpod, "cat", "/1") == ["0:0", "readable", "old", "new", "h"]
    assert run_made(rpod, "cat", "/2") == ["old", "g"]
    for name, content in files.items():
        with open(f"{account_dir}/context/{name}", encoding="ascii") as file:
            assert file.read() == content


def test_bind_mount_leads_nowhere_else(rpod: Command, build: Build, account_dir: str) -> None:
    """A link in a stage or in the context is followed inside of it only (CVE-2024-23653)."""
    with open(f"{account_dir}/outside", "w", encoding="ascii") as file:
        file.write("of the host")
    context = f"{account_dir}/context"
    os.makedirs(context, exist_ok=True)
    os.symlink(account_dir, f"{context}/away")
    done = build("FROM BASE\nRUN --mount=source=away/outside,target=/x cat /x\n", check=False)
    assert done.code == 125
    assert "of the host" not in done.out + done.err
    stage = build(
        f"FROM BASE AS evil\nRUN ln -s {account_dir} /away\nFROM BASE\n"
        "RUN --mount=from=evil,source=/away/outside,target=/x cat /x\n",
        check=False,
    )
    assert stage.code == 125
    assert "of the host" not in stage.out + stage.err


@rpod_only
def test_tmpfs_mount_and_network_none(rpod: Command, build: Build) -> None:
    build(
        "FROM BASE\nRUN --mount=type=tmpfs,target=/t,size=1m df -k /t | tail -n1 >/df; touch /t/x\n"
        "RUN --network=none ip route >/routes; cat /routes | wc -l >>/df\n"
    )
    lines = run_made(rpod, "cat", "/df")
    assert "1024" in lines[0]
    assert lines[-1] == "0"
    assert run_made(rpod, "ls", "-A", "/") != []
    assert "t" not in run_made(rpod, "ls", "/")


def test_history_is_dockers(rpod: Command, build: Build) -> None:
    build('FROM BASE\nARG A=1\nENV B=2\nRUN echo x >/x\nWORKDIR /w\nCMD ["sh"]\n')
    found = rpod("history", "--no-trunc", "--format", "{{.CreatedBy}}", "made").lines
    if is_podman():
        assert len(found) >= 6
        return
    assert (
        found[:6]
        == [
            'CMD ["sh"]',
            "WORKDIR /w",
            "RUN |1 A=1 /bin/sh -c echo x >/x # buildkit",
            "ENV B=2",
            "ARG A=1",
            "layer 0",
        ][: len(found[:6])]
    )


@rpod_only
def test_check_shows_what_is_doubtful(build: Build) -> None:
    done = build("FROM BASE\nMAINTAINER me\nENV PASSWORD=x\n", "--check", check=False)
    assert done.code == 1
    assert done.lines[0] == "Check complete, 2 warnings have been found!"
    assert "WARNING: SecretsUsedInArgOrEnv" in done.lines
    assert build("FROM BASE\n", "--check").lines == ["Check complete, no warnings found."]
    error = build("# check=error=true\nFROM BASE\nMAINTAINER me\n", check=False)
    assert (error.code, "MaintainerDeprecated" in error.err) == (125, True)


@rpod_only
def test_settings_of_the_command_line(rpod: Command, build: Build, image: str) -> None:
    build(
        "FROM none\nRUN echo $GIVEN >/given\nENV KEPT=1 GONE=1\n", f"--from={image}",
        "--env=GIVEN=g", "--unsetenv=GONE", "--label=a=b", "--unsetlabel=made.for",
    )  # fmt: skip
    assert run_made(rpod, "cat", "/given") == ["g"]
    found = config(rpod)
    environment = found["Env"]
    assert isinstance(environment, list)
    assert {"GIVEN=g", "KEPT=1"} <= set(environment)
    assert "GONE=1" not in environment
    assert found["Labels"] == {"a": "b"}


@rpod_only
def test_volume_of_the_build_is_seen_and_left_out(
    rpod: Command, build: Build, account_dir: str
) -> None:
    with open(f"{account_dir}/shared", "w", encoding="ascii") as file:
        file.write("seen")
    build("FROM BASE\nRUN cat /m/n/f >/copy\n", f"--volume={account_dir}/shared:/m/n/f:ro")
    assert run_made(rpod, "cat", "/copy") == ["seen"]
    assert "m" not in run_made(rpod, "ls", "/")


@rpod_only
@pytest.mark.parametrize("flag", ["--security=insecure", "--network=host"])
def test_containerfile_gets_no_right_by_itself(build: Build, flag: str) -> None:
    done = build(f"FROM BASE\nRUN {flag} true\n", check=False)
    assert (done.code, "is not allowed" in done.err) == (125, True)
    name = "security.insecure" if "insecure" in flag else "network.host"
    build(f"FROM BASE\nRUN {flag} true\n", f"--allow={name}")


@rpod_only
def test_builder_prune_forgets_steps_and_keeps_images(rpod: Command, build: Build) -> None:
    source = "FROM BASE\nRUN --mount=type=cache,target=/c echo x >/x\n"
    build(source)
    assert "Build Cache" in rpod("system", "df").out
    rpod("builder", "prune", "--force", "--filter", "until=1h")
    assert steps(build(source, "--explain-cache")) == (1, 0)
    rpod("builder", "prune", "--force")
    assert run_made(rpod, "cat", "/x") == ["x"]
    assert steps(build(source, "--explain-cache")) == (0, 1)
    rpod("system", "prune", "--force", "--build")
    assert steps(build(source, "--explain-cache")) == (0, 1)


@rpod_only
def test_failing_step_can_be_looked_at(rpod: Command, build: Build, account_dir: str) -> None:
    build("FROM BASE\nRUN echo made >/made; false\n", check=False)
    terminal = rpod.pty("build", "--debug-on-failure", f"{account_dir}/context")
    terminal.expect("This is a shell in what it has left")
    terminal.sendline("echo seen: $(cat /made)")
    terminal.expect("seen: made")
    terminal.sendline("exit")
    terminal.expect("ended with exit code 1")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1
    refused = rpod("build", "--debug-on-failure", f"{account_dir}/context", check=False)
    assert "it needs a terminal" in refused.err


@rpod_only
def test_terminal_shows_one_line_for_each_step(
    rpod: Command, build: Build, account_dir: str
) -> None:
    build("FROM BASE\nRUN echo of the step; sleep 0.3\n", "--target=0")
    terminal = rpod.pty("build", "--no-cache", "-t", "made", f"{account_dir}/context")
    terminal.expect(r"\[2/2\] RUN echo of the step; sleep 0.3 \| of the step 0.[1-9]s")
    terminal.expect(r"\[2/2\] RUN echo of the step; sleep 0.3 .*0.[3-9]s")
    terminal.expect(r"Successfully tagged localhost/made:latest")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    build("FROM BASE\nRUN echo in full; false\n", check=False)
    failing = rpod.pty("build", f"{account_dir}/context")
    failing.expect("in full\r\n.*2 \\| RUN echo in full; false")
    failing.expect(pexpect.EOF)


@pytest.fixture
def running_build(
    rpod: Command, build: Build, account_dir: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A build in the middle of a step that has written a file."""
    build("FROM BASE\nRUN false\n", check=False)
    with open(f"{account_dir}/context/Containerfile", encoding="ascii") as file:
        text = file.read().replace("false", "touch /x; chown 1000 /x; echo begun; sleep 1000")
    with open(f"{account_dir}/context/Containerfile", "w", encoding="ascii") as file:
        file.write(text)
    process = rpod.spawn("build", f"{account_dir}/context")
    assert process.stdout is not None
    while b"begun" not in process.stdout.readline().strip().split(b" "):
        assert process.poll() is None
    yield process
    process.kill()
    process.communicate()


@rpod_only
def test_interrupted_build_leaves_nothing(
    rpod: Command, running_build: subprocess.Popen[bytes]
) -> None:
    running_build.send_signal(signal.SIGINT)
    assert running_build.wait(timeout=20) == 130
    assert leaks.unfinished(rpod.account.home) == []


@rpod_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_ended_build_takes_its_step_with_it(
    rpod: Command,
    build: Build,
    running_build: subprocess.Popen[bytes],
    number: signal.Signals,
) -> None:
    """What a killed build was working on is removed by the next build, whatever its owners."""
    running_build.send_signal(number)
    assert running_build.wait(timeout=20) == -number
    assert leaks.wait_until_gone(lambda: leaks.own_processes(rpod.account), leaks.SETTLE_S) == []
    build("FROM BASE\nRUN true # again\n")
    assert leaks.unfinished(rpod.account.home) == []


@rpod_only
def test_step_that_leaves_processes_behind_ends(rpod: Command, build: Build) -> None:
    started_s = time.monotonic()
    build("FROM BASE\nRUN setsid sleep 1000 & echo done >/done\n")
    assert run_made(rpod, "cat", "/done") == ["done"]
    assert time.monotonic() - started_s < 15


@rpod_only
def test_ssh_agent_is_forwarded(rpod: Command, build: Build, account_dir: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{account_dir}/agent")
    os.chown(f"{account_dir}/agent", rpod.account.uid, rpod.account.gid)
    listener.listen()
    with listener:
        build(
            "FROM BASE\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK >/path; test -S $SSH_AUTH_SOCK\n",
            f"--ssh=default={account_dir}/agent",
        )
    assert run_made(rpod, "cat", "/path") == ["/run/buildkit/ssh_agent.0"]
    missing = build("FROM BASE\nRUN --mount=type=ssh,required=true true\n", check=False)
    assert "add --ssh default" in missing.err


@rpod_only
def test_images_and_contexts_are_sources(
    rpod: Command, build: Build, account_dir: str, image: str
) -> None:
    os.makedirs(f"{account_dir}/other", exist_ok=True)
    with open(f"{account_dir}/other/f", "w", encoding="ascii") as file:
        file.write("of other")
    build(
        "FROM scratch AS files\nCOPY --from=other f /f\nFROM base\n"
        f"COPY --from={image} /etc/passwd /p\n"
        "COPY --from=files /f /\nRUN --mount=from=other,target=/o cat /o/f >/g\n",
        f"--build-context=other={account_dir}/other",
        f"--build-context=base=docker-image://{image}",
    )
    assert run_made(rpod, "cat", "/f", "/g") == ["of otherof other"]
    assert run_made(rpod, "head", "-n1", "/p") == ["root:x:0:0:root:/root:/bin/sh"]


@rpod_only
def test_private_and_locked_cache_mounts(rpod: Command, build: Build) -> None:
    name = f"lock-{time.time_ns()}"
    locked = f"RUN --mount=type=cache,id={name},target=/c,sharing=locked"
    script = "[ ! -e /c/held ] && touch /c/held && sleep 0.5 && rm /c/held && echo ok >/ok"
    build(
        f"FROM BASE AS a\n{locked} {script}\nFROM BASE AS b\n{locked} {script} # b\n"
        "FROM BASE\nCOPY --from=a /ok /a\nCOPY --from=b /ok /b\n",
        "--jobs=2",
    )
    assert run_made(rpod, "cat", "/a", "/b") == ["ok", "ok"]
    build(
        "FROM BASE AS seed\nRUN mkdir /s && echo seed >/s/f\nFROM BASE\n"
        f"RUN --mount=type=cache,id={name}-2,target=/c,from=seed,source=/s,mode=0700,uid=1000"
        " cat /c/f >/seen; stat -c '%a %u' /c >>/seen\n"
    )
    assert run_made(rpod, "cat", "/seen") == ["seed", "700 1000"]


@rpod_only
def test_automatic_arguments_and_platform(rpod: Command, build: Build) -> None:
    build(
        "FROM --platform=$BUILDPLATFORM BASE\nARG TARGETPLATFORM\nARG TARGETARCH\nARG TARGETOS\n"
        "RUN echo $TARGETPLATFORM $TARGETOS/$TARGETARCH $BUILDARCH >/p\n"
    )
    (line,) = run_made(rpod, "cat", "/p")
    assert len(set(line.split())) == 1
    assert line.startswith("linux/")


def test_proxy_argument_is_not_kept(rpod: Command, build: Build) -> None:
    build("FROM BASE\nRUN echo $http_proxy >/proxy\n", "--build-arg=http_proxy=http://user:pw@p")
    assert run_made(rpod, "cat", "/proxy") == ["http://user:pw@p"]
    assert "user:pw" not in rpod("history", "--no-trunc", "made").out


@rpod_only
def test_api_builds(rpod: Command, build: Build, account_dir: str) -> None:
    build("FROM BASE\nARG A\nRUN echo $A >/a\n")
    script = (
        "from rootless import api\nwith api.connect() as rpod:\n"
        f"    where = '{account_dir}/context'\n"
        "    image = rpod.build(where, tags=('made',), build_args={'A': 'x'})\n"
        "    print(image.names[0])\n"
    )
    with open(f"{account_dir}/script", "w", encoding="ascii") as file:
        file.write(script)
    done = rpod.shell(f"{sys.executable} {account_dir}/script")
    assert done.lines == ["localhost/made:latest"]
    assert run_made(rpod, "cat", "/a") == ["x"]


@rpod_only
def test_limit_that_cannot_be_had_is_refused(build: Build) -> None:
    done = build("FROM BASE\nRUN true\n", "--no-cache", "--memory=32m", check=False)
    assert done.code == 0 or "it cannot be enforced" in done.err
    build("FROM BASE\nRUN true\n", "--no-cache", "--memory=32m", "--limits=best-effort")

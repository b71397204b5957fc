"""`run`: exit status, streams, the command, its environment and its place."""

import json
import os
import shutil
import signal
import time

import pytest

from tests.support.command import Command, is_podman


@pytest.mark.parametrize("status", [0, 1, 3, 42, 255])
def test_run_gives_the_status_of_the_command(rpod: Command, image: str, status: int) -> None:
    done = rpod("run", "--rm", image, "sh", "-c", f"exit {status}", check=False)
    assert done.code == status, done.told


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param("/no/such/command", 127, id="absolute path missing"),
        pytest.param("no-such-command", 127, id="not in PATH"),
        pytest.param("/etc", 126, id="directory"),
        pytest.param("/etc/not-executable", 126, id="not executable"),
    ],
)
def test_run_of_what_cannot_run(rpod: Command, image: str, command: str, status: int) -> None:
    done = rpod("run", "--rm", image, command, check=False)
    assert done.code == status, done.told
    assert done.out == ""
    if not is_podman():  # 4.3.1 leaves the name out of some of them
        assert command in done.err, done.told


def test_run_keeps_the_streams_apart(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "sh", "-c", "echo to-out; echo to-err >&2")
    assert (done.out, done.err) == ("to-out\n", "to-err\n")


def test_run_is_binary_clean(rpod: Command, image: str) -> None:
    data = bytes(range(256)) * 64
    done = rpod("run", "-i", "--rm", image, "cat", input=data)
    assert done.out_bytes == data


def test_run_loses_no_tail(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "seq", "1", "100000")
    assert done.lines[-1] == "100000"
    assert len(done.lines) == 100_000


def test_run_without_interactive_gives_an_empty_input(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "cat", input=b"not for the container\n")
    assert done.out == ""


def test_run_interactive_ends_at_the_end_of_input(rpod: Command, image: str) -> None:
    done = rpod("run", "--interactive", "--rm", image, "wc", "-l", input=b"a\nb\nc\n")
    assert done.out.strip() == "3"


def test_run_interactive_with_a_command_that_reads_nothing(rpod: Command, image: str) -> None:
    done = rpod("run", "-i", "--rm", image, "true", input=b"x" * 1_000_000)
    assert done.code == 0, done.told


def test_run_uses_the_command_of_the_image(rpod: Command, image: str) -> None:
    done = rpod("run", "-i", "--rm", image, input=b"echo from the shell\n")
    assert done.out == "from the shell\n"


def test_entrypoint_replaces_the_command_of_the_image(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--entrypoint", "echo", image, "a", "b c")
    assert done.out == "a b c\n"


def test_entrypoint_may_be_a_json_list(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--entrypoint", '["echo", "-n", "x y"]', image, "z")
    assert done.out == "x y z"


def test_options_after_the_image_belong_to_the_command(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "echo", "--rm", "-e", "--", "--name=x")
    assert done.out == "--rm -e -- --name=x\n"


@pytest.mark.rpod_only  # podman 4.3.1 refuses a directory that is missing, 5.0 makes it
def test_workdir_is_made_and_entered(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", "-w", "/made/here", image, "pwd").out == "/made/here\n"


def test_environment_of_a_plain_container(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "env", env={"SECRET_OF_THE_HOST": "leaked"})
    variables = dict(line.split("=", 1) for line in done.lines)
    hostname = variables.pop("HOSTNAME")
    assert len(hostname) == 12
    assert variables == {
        "PATH": "/usr/bin:/bin",
        "FROM_IMAGE": "yes",
        "TERM": "xterm",
        "HOME": "/root",
        "container": "podman",
    }


def test_environment_options(rpod: Command, image: str, account_dir: str) -> None:
    path = f"{account_dir}/variables"
    rpod.shell(f"printf '# comment\\nFILE=of the file\\nBOTH=file\\n\\n' >{path}")
    done = rpod(
        *("run", "--rm", "--env-file", path, "-e", "BOTH=option", "--env", "TAKEN", "-e", "EMPTY="),
        *("-e", "FROM_IMAGE=no", "-e", "ABSENT", image, "env"),
        env={"TAKEN": "from the host"},
    )
    variables = dict(line.split("=", 1) for line in done.lines)
    assert variables["FILE"] == "of the file"
    assert variables["BOTH"] == "option"
    assert variables["TAKEN"] == "from the host"
    assert variables["EMPTY"] == ""
    assert variables["FROM_IMAGE"] == "no"
    assert "ABSENT" not in variables


def test_hostname_is_the_short_id(rpod: Command, image: str, account_dir: str) -> None:
    cidfile = f"{account_dir}/cid"
    done = rpod("run", "--rm", "--cidfile", cidfile, image, "hostname")
    container_id = rpod.shell(f"cat {cidfile}", check=False).out.strip()
    # podman removes the file together with the container
    assert container_id == "" or done.out.strip() == container_id[:12]
    assert len(done.out.strip()) == 12


def test_hostname_option(rpod: Command, image: str) -> None:
    script = "hostname; echo $(cat /etc/hostname); grep -c chosen /etc/hosts"
    done = rpod("run", "--rm", "--hostname", "chosen", image, "sh", "-c", script)
    assert done.lines[:2] == ["chosen", "chosen"]
    assert int(done.lines[2]) >= 1


def test_cidfile_holds_the_id(rpod: Command, image: str, account_dir: str) -> None:
    cidfile = f"{account_dir}/cid"
    done = rpod("run", "-d", "--cidfile", cidfile, image, "true")
    assert rpod.shell(f"cat {cidfile}").out.strip() == done.out.strip()


def test_existing_cidfile_is_refused(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"touch {account_dir}/cid")
    done = rpod("run", "--rm", "--cidfile", f"{account_dir}/cid", image, "true", check=False)
    assert done.code == 125, done.told
    assert f"{account_dir}/cid" in done.err


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param("alice", "1000:1000:1000 29", id="name"),
        pytest.param("1000", "1000:1000:1000 29", id="number of a known user"),
        pytest.param("alice:audio", "1000:29:29", id="name and group"),
        pytest.param("4242", "4242:0:0", id="unknown number"),
        pytest.param("4242:4343", "4242:4343:4343", id="unknown numbers"),
        pytest.param("0:0", "0:0:0", id="root"),
    ],
)
def test_user(rpod: Command, image: str, user: str, expected: str) -> None:
    script = 'echo "$(id -u):$(id -g):$(id -G)"'
    assert rpod("run", "--rm", "-u", user, image, "sh", "-c", script).out.strip() == expected


@pytest.mark.parametrize("user", ["nobody-here", "alice:no-such-group"])
def test_unknown_user_is_refused(rpod: Command, image: str, user: str) -> None:
    done = rpod("run", "--rm", "--user", user, image, "true", check=False)
    assert done.code in (125, 126), done.told
    assert user.rpartition(":")[2] in done.err


def test_user_without_root_has_no_capabilities(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "-u", "alice", image, "grep", "CapEff", "/proc/self/status")
    assert int(done.out.split()[1], 16) == 0


def test_user_owns_files_as_in_the_image(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "stat", "-c", "%u:%g %a", "/home/alice/notes", "/etc/passwd")
    assert done.lines == ["1000:1000 640", "0:0 644"]


def test_home_follows_the_user(rpod: Command, image: str) -> None:
    assert (
        rpod("run", "--rm", "-u", "alice", image, "sh", "-c", "echo $HOME").out == "/home/alice\n"
    )


def test_umask_is_0022(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", image, "sh", "-c", "umask").out == "0022\n"


def test_label_is_kept(rpod: Command, image: str) -> None:
    rpod("create", "--name", "labelled", "--label", "a=b", "-l", "only-key", image)
    done = rpod("inspect", "--format", '{{index .Config.Labels "a"}}', "labelled")
    assert done.out == "b\n"


def test_ulimit(rpod: Command, image: str) -> None:
    done = rpod(
        "run", "--rm", "--ulimit", "nofile=123:456", image, "sh", "-c", "ulimit -n; ulimit -Hn"
    )
    assert done.lines == ["123", "456"]


def test_shm_size(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--shm-size", "8m", image, "sh", "-c", "df -k /dev/shm | tail -1")
    assert done.out.split()[1] == "8192"


def test_init_is_pid_1_and_reaps(rpod: Command, image: str) -> None:
    if is_podman() and shutil.which("catatonit") is None:
        pytest.skip("podman's --init needs catatonit")
    script = "(sleep 0.1 &); sleep 0.5; cat /proc/1/comm; grep -l 'State:.Z' /proc/[0-9]*/status"
    done = rpod("run", "--rm", "--init", image, "sh", "-c", script, check=False)
    assert done.lines != [], done.told
    assert done.lines[0] != "sh", done.told
    assert done.lines[1:] == [], "a zombie"


def test_timeout_ends_the_container(rpod: Command, image: str) -> None:
    begin = time.monotonic()
    done = rpod("run", "--rm", "--timeout", "1", image, "sleep", "30", check=False)
    assert done.code != 0, done.told
    assert time.monotonic() - begin < 15


def test_rm_leaves_no_container(rpod: Command, image: str) -> None:
    rpod("run", "--rm", "--name", "gone", image, "true")
    assert "gone" not in rpod("ps", "--all", "--format", "{{.Names}}").lines


def test_without_rm_the_container_stays(rpod: Command, image: str) -> None:
    rpod("run", "--name", "stays", image, "sh", "-c", "exit 7", check=False)
    done = rpod("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "stays")
    assert done.out == "exited 7\n"


def test_name_that_is_taken(rpod: Command, image: str) -> None:
    rpod("create", "--name", "taken", image)
    done = rpod("run", "--name", "taken", image, "true", check=False)
    assert done.code == 125, done.told
    assert "taken" in done.err


def test_replace_takes_the_name(rpod: Command, image: str) -> None:
    first = rpod("run", "-d", "--name", "same", image, "sleep", "100").out.strip()
    second = rpod("run", "-d", "--name", "same", "--replace", image, "sleep", "100").lines[-1]
    assert rpod("inspect", "--format", "{{.Id}}", "same").out.strip() == second
    assert first not in rpod("ps", "-a", "--no-trunc", "--format", "{{.ID}}").lines


@pytest.mark.parametrize("name", ["TERM", "WINCH", "CONT"])
def test_signal_is_passed_on(rpod: Command, image: str, name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done"
    process = rpod.spawn("run", "--rm", image, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == (f"got {name}\n".encode(), 9), err


def test_sig_proxy_false_ends_the_client_only(rpod: Command, image: str) -> None:
    script = "echo ready; sleep 100"
    arguments = ("--sig-proxy=false", "--name", "stays", image, "sh", "-c", script)
    process = rpod.spawn("run", *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert rpod("inspect", "--format", "{{.State.Status}}", "stays").out == "running\n"


def test_container_outlives_a_killed_client(rpod: Command, image: str) -> None:
    process = rpod.spawn("run", "--name", "survivor", image, "sh", "-c", "echo ready; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert rpod("inspect", "--format", "{{.State.Status}}", "survivor").out == "running\n"


@pytest.mark.rpod_only
def test_rm_happens_when_the_client_was_killed(rpod: Command, image: str) -> None:
    process = rpod.spawn("run", "--rm", "--name", "brief", image, "sh", "-c", "echo ready; sleep 1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while rpod("ps", "-aq").out and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rpod("ps", "-aq").out == ""


def test_output_to_a_closed_pipe_ends_quietly(rpod: Command, image: str) -> None:
    done = rpod.shell(f"$RPOD run --rm {image} seq 1 100000 | head -n 1")
    assert done.out == "1\n"
    assert "Traceback" not in done.err


def test_group_that_the_image_lacks_has_a_name(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", "-u", "4242:77", image, "id", "-gn").out == "77\n"


def test_keep_id_has_names(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--userns=keep-id", image, "sh", "-c", "id -un && id -gn")
    assert done.lines[0] == rpod.account.name
    assert "unknown" not in done.err


def test_sigterm_reaches_a_command_that_says_nothing(rpod: Command, image: str) -> None:
    script = "trap 'exit 5' TERM; while :; do sleep 0.1; done"
    process = rpod.spawn("run", "--rm", "--name", "silent", image, "sh", "-c", script)
    while rpod("ps", "-q", "--filter", "name=silent").out == "":
        time.sleep(0.05)
    time.sleep(0.3)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 5, err


@pytest.mark.parametrize(
    ("streams", "out", "err"),
    [
        (("STDOUT",), "out\n", ""),  # as dev container tools write it
        (("stderr",), "", "err\n"),
        (("stdout", "stderr"), "out\n", "err\n"),
    ],
)
def test_only_attached_streams_are_shown(
    rpod: Command, image: str, streams: tuple[str, ...], out: str, err: str
) -> None:
    options = [word for stream in streams for word in ("-a", stream)]
    script = "echo out; echo err >&2; exit 3"
    done = rpod("run", "--name", "c", *options, image, "sh", "-c", script, check=False)
    assert (done.out, done.err, done.code) == (out, err, 3)
    assert sorted(rpod("logs", "c").out + rpod("logs", "c").err) == sorted("out\nerr\n")


def test_input_is_attached_by_name(rpod: Command, image: str) -> None:
    script = "echo text | $RPOD run --rm -i -a stdout -a stdin $I cat"
    assert rpod.shell(script, env={"I": image}).out == "text\n"
    only_in = "echo text | $RPOD run --name c -i -a stdin $I sh -c 'cat >/got'"
    container_id = rpod.shell(only_in, env={"I": image}).out.strip()
    assert len(container_id) == 64
    assert rpod.shell("$RPOD cp c:/got - | tar xO").out == "text\n"


def test_attach_of_another_stream_is_refused(rpod: Command, image: str) -> None:
    done = rpod("run", "-a", "stdwhat", image, "true", check=False)
    assert (done.code, "stdwhat" in done.err) == (125, True)


@pytest.mark.rpod_only  # podman attaches all streams
def test_start_attaches_what_create_asked_for(rpod: Command, image: str) -> None:
    rpod("create", "--name", "c", "-a", "stderr", image, "sh", "-c", "echo out; echo err >&2")
    done = rpod("start", "-a", "c")
    assert (done.out, done.err) == ("", "err\n")
    refused = rpod("run", "-d", "-a", "stdout", image, "true", check=False)
    assert (refused.code, "--attach and --detach" in refused.err) == (125, True)


def test_inspect_shows_ulimits(rpod: Command, image: str) -> None:
    rpod("create", "--name", "c", "--ulimit", "nofile=100:200", image)
    shown = json.loads(rpod("inspect", "--format", "{{json .HostConfig.Ulimits}}", "c").out)
    assert {"Name": "RLIMIT_NOFILE", "Soft": 100, "Hard": 200} in shown


@pytest.mark.parametrize("text", ["notvalid", "99999", "1-x"])
def test_malformed_expose_is_refused(rpod: Command, image: str, text: str) -> None:
    refused = rpod("create", "--expose", text, image, check=False)
    assert (refused.code, text in refused.err, "expose" in refused.err) == (125, True, True)
    assert rpod("ps", "-aq").out == ""

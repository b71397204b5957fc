"""`build`: one Containerfile for each rule of the language, with the configuration that it gives.

A line `= TEXT` that a RUN writes is compared; where podman's builder knows the rule it is held to
the same expectations.
"""

# ruff: noqa: E501 - a case is one line where it can be

import json
import os
from typing import NamedTuple

import pytest

from tests.support.command import Command, is_podman


class Case(NamedTuple):
    """`seen` are the lines that RUN steps write; `config` is a part of the configuration."""

    name: str
    source: str
    seen: tuple[str, ...] = ()
    config: dict[str, object] = {}  # noqa: RUF012 - a record: never changed
    options: tuple[str, ...] = ()
    podman: bool = True


CASES = (
    Case("directive-and-crlf", "# escape=`\r\nFROM BASE\r\nRUN echo = a `\r\n  b\r\n", ("a b",)),
    Case("continuation-with-comments", "FROM BASE\nRUN echo = a \\\n# no\n  # no\n  b\n", ("a b",)),
    Case("empty-continuation", "FROM BASE\nRUN echo = a \\\n\n  b\n", ("a b",)),
    Case("instruction-in-any-case", "from BASE\nrUn echo = a\n", ("a",)),
    Case("arguments-before-from", "ARG B=BASE\nARG V=1\nFROM $B\nARG V\nRUN echo = $V\n", ("1",)),
    Case("argument-before-from-is-not-in-the-stage", "ARG V=1\nFROM BASE\nRUN echo = [$V]\n",
         ("[]",)),
    Case("argument-is-visible-from-its-line", "FROM BASE\nRUN echo = [$V]\nARG V=2\nRUN echo = $V\n",
         ("[]", "2")),
    Case("argument-of-the-command-line", "FROM BASE\nARG V=2\nARG W\nRUN echo = $V $W\n", ("3 4",),
         options=("--build-arg=V=3", "--build-arg=W=4")),
    Case("environment-beats-argument", "FROM BASE\nARG V=arg\nENV V=env\nRUN echo = $V\n", ("env",),
         options=("--build-arg=V=given",)),
    Case("argument-into-environment", "FROM BASE\nARG V=a\nENV V=${V:-b}\nRUN echo = $V\n", ("c",),
         options=("--build-arg=V=c",)),
    Case("several-arguments", "FROM BASE\nARG A=1 B=2\nRUN echo = $A$B\n", ("12",)),
    Case("child-stage-inherits-arguments",
         "FROM BASE AS p\nARG V=1\nENV E=e\nFROM p\nRUN echo = $V $E\n", ("1 e",), podman=False),
    Case("same-value-for-the-whole-instruction",
         "FROM BASE\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nRUN echo = $def $ghi\n",
         ("hello bye",)),
    Case("modifiers", "FROM BASE\nENV A=x E=\nLABEL l=${A:-d}${B:-d}${E:-d}${A:+y}${B:+y}\n",
         config={"Labels": {"l": "xddy"}}),
    Case("modifiers-without-colon", "FROM BASE\nENV E=\nLABEL l=${E-d}${B-d}${E+y}\n",
         config={"Labels": {"l": "dy"}}, podman=False),
    Case("patterns", "FROM BASE\nENV F=a.tar.gz\nLABEL l=${F%.*}:${F##*.}:${F/tar/zip}\n",
         config={"Labels": {"l": "a.tar:gz:a.zip.gz"}}, podman=False),
    Case("escaped-dollar", "FROM BASE\nENV A=x\nLABEL l=\\$A m='$A' n=\"$A\"\n",
         config={"Labels": {"l": "$A", "m": "$A", "n": "x"}}),
    Case("legacy-environment", "FROM BASE\nENV A some   value here\nRUN echo = \"$A\"\n",
         ("some   value here",)),
    Case("environment-with-quotes", "FROM BASE\nENV A=\"x y\" B=p\\ q C='r s'\nRUN echo = $A-$B-$C\n",
         ("x y-p q-r s",)),
    Case("no-expansion-in-cmd", "FROM BASE\nENV A=x\nCMD echo $A\nENTRYPOINT [\"run\", \"$A\"]\n",
         config={"Cmd": ["/bin/sh", "-c", "echo $A"], "Entrypoint": ["run", "$A"]}),
    Case("exec-form-of-run", "FROM BASE\nRUN [\"echo\", \"=\", \"$HOME\"]\n", ("$HOME",)),
    Case("relative-workdir", "FROM BASE\nWORKDIR /a\nENV D=c\nWORKDIR b/../$D\nRUN echo = $PWD\n",
         ("/a/c",), {"WorkingDir": "/a/c"}),
    Case("workdir-belongs-to-root", "FROM BASE\nUSER 1000\nWORKDIR /new\nUSER 0\n"
         "RUN echo = $(stat -c %u:%a /new)\n", ("0:755",)),
    Case("workdir-through-a-link", "FROM BASE\nRUN mkdir /real && ln -s /real /link\nWORKDIR /link/sub\n"
         "RUN echo = $(readlink -f .) $(ls /real)\n", ("/real/sub sub",)),
    Case("user-by-name", "FROM BASE\nUSER alice\nRUN echo = $(id -u):$(id -g) $HOME\n",
         ("1000:1000 /home/alice",), {"User": "alice"}),
    Case("user-by-number", "FROM BASE\nUSER 4242:29\nRUN echo = $(id -u):$(id -g)\n", ("4242:29",),
         {"User": "4242:29"}),
    Case("expose", "FROM BASE\nENV P=90\nEXPOSE 80 53/udp $P/tcp\n",
         config={"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}}}),
    Case("volume-keeps-later-changes", "FROM BASE\nVOLUME /v [\"/w\"]\nRUN mkdir -p /v && touch /v/x\n"
         "RUN echo = $(ls /v)\n", ("x",), podman=False),
    Case("stop-signal", "FROM BASE\nARG S=SIGINT\nSTOPSIGNAL $S\n", config={"StopSignal": "SIGINT"}),
    Case("labels", "FROM BASE\nLABEL a=1 \"b c\"=\"2 3\"\nLABEL a=4\n",
         config={"Labels": {"a": "4", "b c": "2 3"}}),
    Case("healthcheck-is-kept", "FROM BASE\nHEALTHCHECK --interval=1m --retries=2 CMD true\n",
         config={"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 60000000000, "Retries": 2}},
         podman=False),
    Case("shell-is-kept", "FROM BASE\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD x\n",
         config={"Shell": ["/bin/sh", "-ec"], "Cmd": ["/bin/sh", "-ec", "x"]}, podman=False),
    Case("cmd-replaces-cmd", "FROM BASE\nCMD a\nCMD [\"b\"]\n", config={"Cmd": ["b"]}),
    Case("empty-cmd", "FROM BASE\nCMD []\n", config={"Cmd": []}, podman=False),
    Case("cmd-stays-with-entrypoint-of-the-same-stage", "FROM BASE\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\n",
         config={"Cmd": ["a"], "Entrypoint": ["b"]}),
    Case("shell-entrypoint", "FROM BASE\nENTRYPOINT exec top\n",
         config={"Entrypoint": ["/bin/sh", "-c", "exec top"]}),
    Case("numbered-stages", "FROM BASE\nRUN echo zero >/f\nFROM BASE\nCOPY --from=0 /f /\n"
         "RUN echo = $(cat /f)\n", ("zero",)),
    Case("stage-names-in-any-case", "FROM BASE AS Build\nRUN echo x >/f\nFROM BUILD\n"
         "RUN echo = $(cat /f)\n", ("x",), podman=False),
    Case("stage-goes-before-image", "FROM BASE AS busybox\nENV A=mine\nFROM busybox\nRUN echo = $A\n",
         ("mine",)),
    Case("scratch", "FROM BASE AS b\nFROM scratch\nCOPY --from=b /bin /bin\nRUN echo = $(ls /)\n",
         ("bin dev etc proc run sys",), podman=False),
    Case("onbuild-is-stored", "FROM BASE\nONBUILD RUN echo $X\n", config={"OnBuild": ["RUN echo $X"]},
         podman=False),
    Case("maintainer", "FROM BASE\nMAINTAINER me <me@example.org>\n"),
    Case("pipes-and-several-lines", "FROM BASE\nRUN set -e; \\\n  for i in 1 2; do \\\n    echo = $i; \\\n"
         "  done\n", ("1", "2")),
    Case("heredoc-with-quotes", "FROM BASE\nARG A=x\nRUN <<'EOF'\necho = $A \"$(echo y)\"\nEOF\n",
         ("x y",), podman=False),
    Case("heredoc-without-tabs", "FROM BASE\nRUN <<-EOF\n\techo = a\n\tEOF\n", ("a",), podman=False),
    Case("heredoc-for-another-shell", "FROM BASE\nRUN awk -f /dev/stdin <<EOF\nBEGIN { print \"= awk\" }\n"
         "EOF\n", ("awk",), podman=False),
    Case("mount-points-are-no-change", "FROM BASE\nRUN --mount=type=tmpfs,target=/p/q/r true\n"
         "RUN echo = $(ls -d /p 2>/dev/null || echo none)\n", ("none",), podman=False),
    Case("file-in-a-mount-point-dir-stays", "FROM BASE\nRUN --mount=type=tmpfs,target=/p/q touch /p/x\n"
         "RUN echo = $(ls /p)\n", ("x",), podman=False),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_of_the_language(rpod: Command, image: str, account_dir: str, case: Case) -> None:
    if is_podman() and not case.podman:
        pytest.skip("podman 4.3 does not know it, or drops it in OCI images")
    with open(f"{account_dir}/Containerfile", "w", encoding="utf-8", newline="") as file:
        file.write(case.source.replace("BASE", image))
    os.chmod(account_dir, 0o755)
    done = rpod("build", "--no-cache", *case.options, account_dir)
    written = [line.removeprefix("= ") for line in done.lines if line.startswith("= ")]
    assert tuple(written) == case.seen
    if not case.config:
        return
    config = json.loads(rpod("inspect", done.lines[-1]).out)[0]["Config"]
    for key, expected in case.config.items():
        found = config.get(key)
        if isinstance(expected, dict) and key == "Labels":
            assert {name: found.get(name) for name in expected} == expected
        else:
            assert found == expected, key

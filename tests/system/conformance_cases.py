"""The cases of test_build_conformance: what a Containerfile gives, row by row of the language."""

# ruff: noqa: E501 - a case is one line where it can be

import bz2
import gzip
import lzma
from typing import NamedTuple

from tests.support.images import File, directory, symlink, tar


class Case(NamedTuple):
    """`tree` has a line for each file that the base image has not; "- NAME" for one that is gone.

    `history` are the texts of all steps but the base's. `not_buildah` says why buildah 1.28 is not
    held to it; `buildah_docker` compares docker's format, as buildah drops the setting in the OCI's.
    """

    name: str
    source: str
    tree: tuple[str, ...] = ()
    config: dict[str, object] = {}  # noqa: RUF012 - a record: never changed
    history: tuple[str, ...] = ()
    files: dict[str, str | bytes] = {}  # noqa: RUF012
    options: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012
    from_scratch: bool = False
    not_buildah: str = ""
    buildah_docker: bool = False


_ARCHIVE = tar([directory("in"), File("in/f", b"f", 0o640, uid=5, gid=6), symlink("in/l", "f")])
_UNPACKED = ("d 755 0:0 /to", "d 755 0:0 /to/in", "f 640 5:6 /to/in/f 'f'", "l /to/in/l -> f")
_FILES: dict[str, str | bytes] = {
    "a.txt": "a", "b.txt": "b", "c.md": "c", "dir/d.txt": "d", "dir/run.sh": "s", "dir/sub/e.txt": "e",
    "dir/link": "-> d.txt",
}  # fmt: skip
_DIR = (
    "f 644 0:0 /to/d.txt 'd'", "l /to/link -> d.txt", "f 755 0:0 /to/run.sh 's'",
    "d 755 0:0 /to/sub", "f 644 0:0 /to/sub/e.txt 'e'",
)  # fmt: skip
_TO = "d 755 0:0 /to"

CASES = (
    Case("parser", "# syntax=docker/dockerfile:1\n# escape=`\nFROM BASE\r\nRUN echo a `\n# no\n  b >/f\r\n",
         ("f 644 0:0 /f 'a b\\n'",), history=("RUN /bin/sh -c echo a   b >/f # buildkit",),
         not_buildah="reads one directive"),
    Case("parser-escape", "# Escape = `\nFROM BASE\r\nRUN echo a `\n# no\n\n  b \\\\c >/f\r\n",
         ("f 644 0:0 /f 'a b \\\\c\\n'",), not_buildah="keeps the backquote where a comment follows"),
    Case("parser-lines", "\n# first\nFROM BASE\r\n  run echo a \\\n# no\n  # no\n  b >/f\r\n",
         ("f 644 0:0 /f 'a b\\n'",)),
    Case("expansion",
         "FROM BASE\nENV D=/to F=a.txt N=7 S=SIGINT\nWORKDIR $D\nCOPY ${F} ${D}/copied\nADD $F added\n"
         "EXPOSE ${N}0\nLABEL l=${F%.txt} m=${X:-none} n=${F:+set}\nSTOPSIGNAL $S\nUSER ${N}\nVOLUME $D/v\n",
         (_TO, "f 644 0:0 /to/added 'a'", "f 644 0:0 /to/copied 'a'"),
         {"ExposedPorts": {"70/tcp": {}}, "Labels": {"l": "a", "m": "none", "n": "set"}, "User": "7",
          "StopSignal": "SIGINT", "Volumes": {"/to/v": {}}, "WorkingDir": "/to"},
         files=_FILES, not_buildah="no patterns in expansions, makes the volume"),
    Case("expansion-common",
         "FROM BASE\nENV D=/to F=a.txt N=7 S=SIGINT\nWORKDIR $D\nCOPY ${F} ${D}/copied\nADD $F added\n"
         "EXPOSE ${N}0\nLABEL m=${X:-none} n=${F:+set} o=\\$F p='$F'\nSTOPSIGNAL $S\nUSER ${N}\n",
         (_TO, "f 644 0:0 /to/added 'a'", "f 644 0:0 /to/copied 'a'"),
         {"ExposedPorts": {"70/tcp": {}}, "Labels": {"m": "none", "n": "set", "o": "$F", "p": "$F"}, "User": "7",
          "StopSignal": "SIGINT", "WorkingDir": "/to"}, files=_FILES),
    Case("stages", "FROM BASE AS Zero\nRUN echo 0 >/0\nFROM zero AS one\nRUN echo 1 >/1\nFROM BASE\n"
         "COPY --from=0 /0 /0\nCOPY --from=ONE /1 /1\n",
         ("f 644 0:0 /0 '0\\n'", "f 644 0:0 /1 '1\\n'"),
         history=("COPY /0 /0 # buildkit", "COPY /1 /1 # buildkit"), not_buildah="names of stages in one case"),
    Case("stages-by-name-and-number", "FROM BASE AS zero\nRUN echo 0 >/0\nFROM zero AS one\nRUN echo 1 >/1\nFROM BASE\n"
         "COPY --from=0 /0 /0\nCOPY --from=one /0 /1 /to/\n",
         ("f 644 0:0 /0 '0\\n'", _TO, "f 644 0:0 /to/0 '0\\n'", "f 644 0:0 /to/1 '1\\n'")),
    Case("scratch", "FROM scratch\nCOPY a.txt /\n", ("f 644 0:0 /a.txt 'a'",), files=_FILES, from_scratch=True,
         history=("COPY a.txt / # buildkit",)),
    Case("arg", "ARG V=global\nFROM BASE\nRUN echo [$V] >/1\nARG V\nARG W=w X\nRUN echo [$V][$W][$X] >/2\n"
         "ENV W=env\nRUN echo [$W] >/3\n",
         ("f 644 0:0 /1 '[]\\n'", "f 644 0:0 /2 '[given][w][x]\\n'", "f 644 0:0 /3 '[env]\\n'"), {"Env": ["W=env"]},
         options=("--build-arg=V=given", "--build-arg=X=x"),
         history=("RUN /bin/sh -c echo [$V] >/1 # buildkit", "ARG V", "ARG W=w X",
                  "RUN |3 V=given W=w X=x /bin/sh -c echo [$V][$W][$X] >/2 # buildkit", "ENV W=env",
                  "RUN |3 V=given W=w X=x /bin/sh -c echo [$W] >/3 # buildkit")),
    Case("automatic-arguments", "FROM BASE\nARG TARGETPLATFORM\nARG TARGETOS\nARG BUILDARCH\n"
         "RUN echo $TARGETPLATFORM $TARGETOS $BUILDARCH $TARGETARCH >/f\n",
         ("f 644 0:0 /f 'linux/amd64 linux amd64\\n'",), options=("--platform=linux/amd64",)),
    Case("env", "FROM BASE\nENV A=1 B=\"x y\" C='p q' D=r\\ s\nENV E old   form\nENV A=2 F=$A\n",
         config={"Env": ["A=2", "B=x y", "C=p q", "D=r s", "E=old   form", "F=1"]},
         history=("ENV A=1 B=x y C=p q D=r s", "ENV E=old   form", "ENV A=2 F=1")),
    Case("run-forms", "FROM BASE\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $0 >/1\nRUN [\"touch\", \"/$HOME\"]\n"
         "RUN rm /etc/group && mkdir -m 700 /d && chown 5:6 /d\n",
         ("f 644 0:0 /$HOME ''", "f 644 0:0 /1 '/bin/sh\\n'", "d 700 5:6 /d", "- etc/group"), history=(
             "SHELL [/bin/sh -ec]", "RUN /bin/sh -ec echo $0 >/1 # buildkit", "RUN touch /$HOME # buildkit",
             "RUN /bin/sh -ec rm /etc/group && mkdir -m 700 /d && chown 5:6 /d # buildkit")),
    Case("run-heredoc", "FROM BASE\nRUN <<EOF >/1\necho a\nEOF\nRUN <<A cat >/2; cat <<'B' >/3\n$HOME\nA\n$HOME\nB\n"
         "RUN <<-EOF\n\t#!/bin/sh\n\techo $0 >/4\n\tEOF\n",
         ("f 644 0:0 /1 ''", "f 644 0:0 /2 '/root\\n'", "f 644 0:0 /3 '$HOME\\n'", "f 644 0:0 /4 '/dev/pipes/EOF\\n'"), not_buildah="1.28 has no heredocs"),
    Case("mount-bind", "FROM BASE AS s\nRUN echo s >/s\nFROM BASE\nRUN --mount=target=/m cat /m/a.txt >/1\n"
         "RUN --mount=type=bind,from=s,source=/s,target=/n cat /n >/2\n"
         "RUN --mount=type=bind,source=dir,target=/m,rw echo x >/m/d.txt && cat /m/d.txt >/3\n",
         ("f 644 0:0 /1 'a'", "f 644 0:0 /2 's\\n'", "f 644 0:0 /3 'x\\n'"), files=_FILES),
    Case("mount-cache", "FROM BASE AS s\nRUN mkdir /seed && echo s >/seed/s\nFROM BASE\n"
         "RUN --mount=type=cache,id=conformance,target=/c,from=s,source=/seed,mode=0750,uid=7,gid=8 "
         "stat -c %a:%u:%g /c >/1; cat /c/s >>/1\n", ("f 644 0:0 /1 '750:7:8\\ns\\n'",),
         not_buildah="with from= the owner and mode of the seed"),
    Case("mount-cache-new", "FROM BASE\nRUN --mount=type=cache,id=conformance-new,target=/c,mode=0750,uid=7,gid=8 "
         "stat -c %a:%u:%g /c >/1; echo x >/c/x\nRUN --mount=type=cache,id=conformance-new,target=/c cat /c/x >/2\n"
         "RUN ls /c || echo none >/3\n",
         ("f 644 0:0 /1 '750:7:8\\n'", "f 644 0:0 /2 'x\\n'", "f 644 0:0 /3 'none\\n'")),
    Case("mount-secret", "FROM BASE\nRUN --mount=type=secret,id=one,required=true wc -c </run/secrets/one >/1\n"
         "RUN --mount=type=secret,id=one,target=/s,mode=0444,uid=3 stat -c %a:%u /s >/2\n"
         "RUN --mount=type=secret,id=none ls /run/secrets/none || echo none >/3\n",
         ("f 644 0:0 /1 '6\\n'", "f 644 0:0 /2 '444:3\\n'", "f 644 0:0 /3 'none\\n'"),
         options=("--secret=id=one,env=CONFIDENTIAL",), environment={"CONFIDENTIAL": "secret"}),
    Case("mount-tmpfs", "FROM BASE\nRUN --mount=type=tmpfs,target=/t touch /t/x && ls /t >/1\n",
         ("f 644 0:0 /1 'x\\n'",)),
    Case("run-network", "FROM BASE\nRUN --network=none ip -o link | wc -l >/1\n", ("f 644 0:0 /1 '1\\n'",),
         not_buildah="1.28 has only --mount"),
    Case("run-security", "FROM BASE\nRUN --security=insecure grep -c CapEff:.*1ff /proc/self/status >/1\n",
         ("f 644 0:0 /1 '1\\n'",), options=("--allow=security.insecure",), not_buildah="no --security"),
    Case("copy-files", "FROM BASE\nCOPY a.txt b.txt /to/\nCOPY [\"c.md\", \"/to/c d\"]\nCOPY ../../a.txt /to/up\nCOPY *.m? /to/\n",
         (_TO, "f 644 0:0 /to/a.txt 'a'", "f 644 0:0 /to/b.txt 'b'", "f 644 0:0 /to/c d 'c'", "f 644 0:0 /to/c.md 'c'",
          "f 644 0:0 /to/up 'a'"), files=_FILES,
         history=("COPY a.txt b.txt /to/ # buildkit", "COPY c.md /to/c d # buildkit", "COPY ../../a.txt /to/up # buildkit",
                  "COPY *.m? /to/ # buildkit")),
    Case("copy-directory", "FROM BASE\nCOPY dir /to\n", (_TO, *_DIR), files=_FILES),
    Case("copy-to-workdir", "FROM BASE\nWORKDIR /to\nCOPY dir .\nCOPY a.txt ../\n", ("f 644 0:0 /a.txt 'a'", _TO, *_DIR),
         files=_FILES),
    Case("copy-through-link", "FROM BASE\nRUN mkdir /real && ln -s /real /to && ln -s real /rel\n"
         "COPY a.txt /to/\nCOPY b.txt /to/../b\nCOPY c.md /rel/new/\n",
         ("f 644 0:0 /b 'b'", "d 755 0:0 /real", "f 644 0:0 /real/a.txt 'a'", "d 755 0:0 /real/new",
          "f 644 0:0 /real/new/c.md 'c'", "l /rel -> real", "l /to -> /real"), files=_FILES),
    Case("copy-to-dangling-link", "FROM BASE\nRUN mkdir /real && ln -s /real /to && ln -s /nowhere/x /dangling\n"
         "COPY a.txt /to/\nCOPY b.txt /to/../b\nCOPY c.md /dangling\n",
         ("f 644 0:0 /b 'b'", "l /dangling -> /nowhere/x", "d 755 0:0 /nowhere", "f 644 0:0 /nowhere/x 'c'",
          "d 755 0:0 /real", "f 644 0:0 /real/a.txt 'a'", "l /to -> /real"), files=_FILES,
         not_buildah="puts the file in the link's place"),
    Case("copy-from", "FROM BASE AS s\nRUN mkdir /d && echo x >/d/x && chown -R 7:8 /d && chmod 4711 /d/x\nFROM BASE\n"
         "COPY --from=s /d /d\nCOPY --from=BASE /etc/not-executable /f\n",
         ("d 755 7:8 /d", "f 4711 7:8 /d/x 'x\\n'", "f 644 0:0 /f '#!/bin/sh\\necho no\\n'"), not_buildah="drops the setuid bit, and the owner of the directory"),
    Case("copy-from-files", "FROM BASE AS s\nRUN mkdir /d && echo x >/d/x && ln -s x /d/l && chmod 711 /d/x && chown 7:8 /d/x\nFROM BASE\n"
         "COPY --from=s /d/ /to/\nCOPY --from=BASE /etc/not-executable /f\nCOPY --from=s --chown=5:6 /d/x /x\n",
         ("f 644 0:0 /f '#!/bin/sh\\necho no\\n'", _TO, "l /to/l -> x", "f 711 7:8 /to/x 'x\\n'", "f 711 5:6 /x 'x\\n'")),
    Case("copy-context", "FROM BASE\nCOPY --from=more d.txt /to/\n", (_TO, "f 644 0:0 /to/d.txt 'd'"), files=_FILES,
         options=("--build-context=more=CONTEXT/dir",)),
    Case("chown-chmod", "FROM BASE\nCOPY --chown=alice a.txt /1\nCOPY --chown=alice:audio b.txt /2\nCOPY --chown=5:6 --chmod=640 c.md /3\n"
         "ADD --chown=7 --chmod=0711 a.txt /4\n",
         ("f 644 1000:1000 /1 'a'", "f 644 1000:29 /2 'b'", "f 640 5:6 /3 'c'", "f 711 7:7 /4 'a'"), files=_FILES,
         history=("COPY --chown=alice a.txt /1 # buildkit", "COPY --chown=alice:audio b.txt /2 # buildkit",
                  "COPY --chown=5:6 --chmod=640 c.md /3 # buildkit", "ADD --chown=7 --chmod=0711 a.txt /4 # buildkit")),
    Case("chmod-symbolic", "FROM BASE\nCOPY --chmod=u=rwX,go=rX dir /to\n",
         (_TO, *_DIR), files=_FILES, not_buildah="octal modes only"),
    Case("link", "FROM BASE\nRUN mkdir -m 700 /to\nCOPY --link a.txt /to/\n", (_TO, "f 644 0:0 /to/a.txt 'a'"), files=_FILES,
         not_buildah="1.28 does not know it"),
    Case("parents", "FROM BASE\nCOPY --parents dir/sub/e.txt ./dir/./sub /to/\n",
         (_TO, "d 755 0:0 /to/dir", "d 755 0:0 /to/dir/sub", "f 644 0:0 /to/dir/sub/e.txt 'e'", "d 755 0:0 /to/sub",
          "f 644 0:0 /to/sub/e.txt 'e'"), files=_FILES, not_buildah="1.28 does not know it"),
    Case("exclude", "FROM BASE\nCOPY --exclude=*.sh --exclude=sub dir /to\n",
         (_TO, "f 644 0:0 /to/d.txt 'd'", "l /to/link -> d.txt"), files=_FILES, not_buildah="1.28 does not know it"),
    Case("copy-heredoc", "FROM BASE\nARG V=v\nCOPY --chmod=600 <<one <<'two' /to/\n$V\none\n$V\ntwo\n",
         (_TO, "f 600 0:0 /to/one 'v\\n'", "f 600 0:0 /to/two '$V\\n'"), not_buildah="1.28 has no heredocs"),
    *(
        Case(f"add-archive-{name}", f"FROM BASE\nADD packed.{name} /to/\n", _UNPACKED, files={f"packed.{name}": data})
        for name, data in (
            ("tar", _ARCHIVE), ("gz", gzip.compress(_ARCHIVE)), ("bz2", bz2.compress(_ARCHIVE)), ("xz", lzma.compress(_ARCHIVE)),
            ("txt", _ARCHIVE),
        )
    ),
    Case("add-unpack", "FROM BASE\nADD --unpack=false a.tar /to/\n", (_TO, "f 644 0:0 /to/a.tar 'x'"), files={"a.tar": "x"}, not_buildah="no --unpack"),
    Case("workdir", "FROM BASE\nWORKDIR /a\nWORKDIR b\nUSER 1000\nWORKDIR c/../d\n", ("d 755 0:0 /a", "d 755 0:0 /a/b", "d 755 0:0 /a/b/d"),
         {"WorkingDir": "/a/b/d", "User": "1000"}, history=("WORKDIR /a", "WORKDIR /a/b", "USER 1000", "WORKDIR /a/b/d"),
         not_buildah="makes no directory in the layer"),
    Case("workdir-of-a-step", "FROM BASE\nWORKDIR /a\nWORKDIR b\nRUN pwd >f\nENV E=x\nWORKDIR $E/../c\nRUN pwd >../g\n",
         ("d 755 0:0 /a", "d 755 0:0 /a/b", "d 755 0:0 /a/b/c", "f 644 0:0 /a/b/f '/a/b\\n'", "f 644 0:0 /a/b/g '/a/b/c\\n'"),
         {"WorkingDir": "/a/b/c"}),
    Case("settings", "FROM BASE\nUSER alice:audio\nEXPOSE 80 53/udp 8000-8001\nVOLUME /v [\"/w\"]\nVOLUME [\"/x y\"]\nLABEL a=1 \"b c\"='2 3'\nLABEL a=4\n"
         "STOPSIGNAL 9\nMAINTAINER me\n", (),
         {"User": "alice:audio", "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}},
          "Labels": {"a": "4", "b c": "2 3"}, "StopSignal": "9"},
         not_buildah="makes the volumes, keeps ranges of ports"),
    Case("settings-common", "FROM BASE\nUSER alice:audio\nEXPOSE 80 53/udp\nLABEL a=1 \"b c\"='2 3'\nLABEL a=4\nSTOPSIGNAL 9\nMAINTAINER me\n", (),
         {"User": "alice:audio", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Labels": {"a": "4", "b c": "2 3"}, "StopSignal": "9"}),
    Case("volume-settings", "FROM BASE\nRUN mkdir -p /v /w '/x y'\nVOLUME /v /w\nVOLUME [\"/x y\"]\n",
         ("d 755 0:0 /v", "d 755 0:0 /w", "d 755 0:0 /x y"), {"Volumes": {"/v": {}, "/w": {}, "/x y": {}}}),
    Case("volume", "FROM BASE\nVOLUME /v\nRUN mkdir -p /v && echo x >/v/x\n", ("d 755 0:0 /v", "f 644 0:0 /v/x 'x\\n'"),
         {"Volumes": {"/v": {}}}, not_buildah="drops what is changed below a volume"),
    *(
        Case(f"cmd-{number}", f"FROM BASE\n{source}", (), {"Cmd": cmd, "Entrypoint": entrypoint}, not_buildah=why)
        for number, (source, cmd, entrypoint, why) in enumerate((
            ("CMD a b\n", ["/bin/sh", "-c", "a b"], None, ""),
            ("CMD [\"a\", \"b\"]\n", ["a", "b"], None, ""),
            ("ENTRYPOINT e f\n", None, ["/bin/sh", "-c", "e f"], ""),
            ("ENTRYPOINT e f\nCMD a\n", ["/bin/sh", "-c", "a"], ["/bin/sh", "-c", "e f"], ""),
            ("ENTRYPOINT e f\nCMD [\"a\"]\n", ["a"], ["/bin/sh", "-c", "e f"], ""),
            ("ENTRYPOINT [\"e\"]\n", None, ["e"], ""),
            ("ENTRYPOINT [\"e\"]\nCMD a\n", ["/bin/sh", "-c", "a"], ["e"], ""),
            ("ENTRYPOINT [\"e\"]\nCMD [\"a\"]\n", ["a"], ["e"], ""),
            ("CMD [\"a\"]\nENTRYPOINT [\"e\"]\n", ["a"], ["e"], ""),
        ))
    ),
    Case("healthcheck", "FROM BASE\nHEALTHCHECK --interval=5s --timeout=3s --start-period=1m --start-interval=2s --retries=4 CMD [\"x\", \"y\"]\n",
         (), {"Healthcheck": {"Test": ["CMD", "x", "y"], "Interval": 5000000000, "Timeout": 3000000000, "Retries": 4,
                              "StartPeriod": 60000000000, "StartInterval": 2000000000}}, not_buildah="1.28 has no --start-interval"),
    Case("healthcheck-common", "FROM BASE\nHEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=4 CMD x y\n",
         (), {"Healthcheck": {"Test": ["CMD-SHELL", "x y"], "Interval": 5000000000, "Timeout": 3000000000, "Retries": 4,
                              "StartPeriod": 60000000000}}, buildah_docker=True),
    Case("healthcheck-none", "FROM BASE\nHEALTHCHECK NONE\n", (), {"Healthcheck": {"Test": ["NONE"]}}, buildah_docker=True),
    Case("onbuild", "FROM BASE AS parent\nONBUILD RUN echo x >/x\nONBUILD ENV A=1\nFROM parent\n", ("f 644 0:0 /x 'x\\n'",), {"Env": ["A=1"]},
         not_buildah="does not run the triggers of a stage"),
    Case("onbuild-is-kept", "FROM BASE\nSHELL [\"/bin/sh\", \"-ec\"]\nONBUILD RUN echo x >/x\nONBUILD COPY . /a\n", (),
         {"OnBuild": ["RUN echo x >/x", "COPY . /a"], "Shell": ["/bin/sh", "-ec"]}, buildah_docker=True),
    Case("ignore-file", "FROM BASE\nCOPY . /to/\n",
         (_TO, "f 644 0:0 /to/b.txt 'b'", "d 755 0:0 /to/dir", "f 644 0:0 /to/dir/d.txt 'd'"),
         files={**_FILES, ".containerignore": "# none\n*\n!b.txt\n!dir\ndir/*\n!**/d.txt\n"}),
    Case("squash", "FROM BASE\nRUN echo 1 >/1\nRUN echo 2 >/2 && rm /1\n", ("f 644 0:0 /2 '2\\n'",), options=("--squash",),
         not_buildah="its --squash takes the base image, too"),
    Case("labels-of-the-command-line", "FROM BASE\nLABEL a=1 b=2\n", (), {"Labels": {"a": "3", "b": "2"}}, options=("--label=a=3",)),
)  # fmt: skip

"""The records of a build: parsed instructions, trees, layers, and what a stage comes to.

parser  -> instructions with the words as written
engine  -> expands the words of one instruction, computes its key, and asks
    contexts.open_context(workplace, where, files=...) -> context and Containerfiles
    copying.Copying(workplace, copy, origin, scope)  `origin` is a Context or a Tree
        .digest()                    every input: path, mode, owner as it will be, bytes, no times
        .commit(below, options)      -> Copied: the layer, stored and unpacked on top of the Tree
    layers.commit(workplace, changes, below, options) -> Layer
                                     what a RUN has changed becomes the layer
workplace.Workplace(host)            one for each build: its user namespace, its scratch directory
outputs <- Built                                 writes configuration, manifest, archives
"""

from storage.record import NamedTuple


class Range(NamedTuple):
    """Lines of a Containerfile, counted from 1, both ends included."""

    first: int
    last: int


class Heredoc(NamedTuple):
    """A document within an instruction.

    `name` is its delimiter without quotes, `fd` the number before `<<` or -1; `expand` is false
    when a part of the delimiter was quoted. With `<<-` leading tabs have been taken away already.
    """

    name: str
    content: str
    expand: bool
    fd: int = -1


class Word(NamedTuple):
    """A word as written, and the line (from 1) and column (from 0) where it begins."""

    text: str
    line: int
    column: int


class Flag(NamedTuple):
    """`--name=value` before the words of an instruction; `value` is None without `=`."""

    name: str
    value: str | None
    line: int
    column: int


class CommandLine(NamedTuple):
    """The command of RUN, CMD, ENTRYPOINT, HEALTHCHECK.

    The shell form has one word, the script; the exec form has the argument list.
    """

    words: tuple[str, ...]
    is_shell: bool


class Mount(NamedTuple):
    """`RUN --mount`: `fields` in the order written, values as written; `True` for a bare word."""

    kind: str
    fields: tuple[tuple[str, str], ...]
    flag: Flag


class From(NamedTuple):
    range: Range
    base: str
    name: str = ""
    platform: str = ""


class Arg(NamedTuple):
    """Each pair is a name and its default, None without one."""

    range: Range
    pairs: tuple[tuple[str, str | None], ...]


class Env(NamedTuple):
    range: Range
    pairs: tuple[tuple[str, str], ...]


class Label(NamedTuple):
    range: Range
    pairs: tuple[tuple[str, str], ...]


class Run(NamedTuple):
    range: Range
    command: CommandLine
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = ""
    security: str = ""
    devices: tuple[str, ...] = ()


class Copy(NamedTuple):
    """COPY; after expansion every text is final.

    `sources` are words, or names of `heredocs` written as `<<NAME`: what is copied then is the
    document. `chown`, `chmod` are as written: names, numbers, octal or symbolic.
    """

    range: Range
    sources: tuple[str, ...]
    target: str
    origin: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()


class Add(NamedTuple):
    """ADD; `unpack` is None when the kind of the source decides."""

    range: Range
    sources: tuple[str, ...]
    target: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


class Workdir(NamedTuple):
    range: Range
    path: str


class User(NamedTuple):
    range: Range
    user: str


class Expose(NamedTuple):
    range: Range
    ports: tuple[str, ...]


class Volume(NamedTuple):
    range: Range
    paths: tuple[str, ...]


class StopSignal(NamedTuple):
    range: Range
    signal: str


class Shell(NamedTuple):
    range: Range
    words: tuple[str, ...]


class Cmd(NamedTuple):
    range: Range
    command: CommandLine


class Entrypoint(NamedTuple):
    range: Range
    command: CommandLine


class Healthcheck(NamedTuple):
    """Durations as written, "" when not given; `command` is None for NONE."""

    range: Range
    command: CommandLine | None
    interval: str = ""
    timeout: str = ""
    start_period: str = ""
    start_interval: str = ""
    retries: str = ""


class Onbuild(NamedTuple):
    range: Range
    text: str


class Maintainer(NamedTuple):
    range: Range
    name: str


Instruction = (
    Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Workdir
    | User
    | Expose
    | Volume
    | StopSignal
    | Shell
    | Cmd
    | Entrypoint
    | Healthcheck
    | Onbuild
    | Maintainer
)


class Stage(NamedTuple):
    """One FROM and what follows; `position` counts from 0."""

    position: int
    source: From
    instructions: tuple[Instruction, ...]


class Tree(NamedTuple):
    """A root file system: unpacked layers by chain id, the lowest first."""

    map_key: str
    chain_ids: tuple[str, ...]


class Layer(NamedTuple):
    """A stored layer: its blob, and the digest of its archive."""

    digest: str
    size: int
    diff_id: str
    media_type: str


class LayerOptions(NamedTuple):
    """How a layer is written. `latest_s`: later modification times become this (seconds).

    With `exact` all do.
    """

    compression: str = "gzip"
    latest_s: int | None = None
    exact: bool = False


class CopyScope(NamedTuple):
    """Where COPY and ADD act: the stage's accounts, passwd(5) and group(5), and its WORKDIR."""

    passwd: bytes
    group: bytes
    workdir: str
    platform: str


class Built(NamedTuple):
    """What a stage comes to: everything of an image but its documents.

    `config` is the `config` of OCI's image configuration; `labels` and the like are in it.
    """

    platform: str
    layers: tuple[Layer, ...]
    config: dict[str, object]
    history: tuple[dict[str, object], ...]
    author: str = ""
    base_name: str = ""
    base_digest: str = ""

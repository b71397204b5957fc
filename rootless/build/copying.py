"""COPY and ADD: from the words of an instruction to a stored layer.

`Copying.digest` is the digest of every input, for the cache; `Copying.commit` makes the layer. Both
only look at what `storage.build` finds in trees: a context by the caller, layers as root of the
build's user namespace.
"""

import hashlib
import os
import time

from rootless.build.contexts import Context
from rootless.build.errors import BuildError
from rootless.build.layers import open_layers
from rootless.build.model import Add, Copy, CopyScope, Heredoc, Layer, LayerOptions, Tree
from rootless.build.remote import fetch_git, fetch_url, is_git, is_url
from rootless.build.workplace import Workplace
from rootless.container.users import parse_group, parse_passwd
from storage import lightjson as json
from storage.build.copying import CopyRules, LayerCopy, Picked, content_files, input_digest
from storage.build.errors import BuildInputError, ContextError
from storage.build.hashing import hash_files
from storage.build.host_tree import HostTree
from storage.build.layer_writing import LayerForm, write_layer
from storage.build.modes import ModeChange
from storage.build.selection import Selected, select
from storage.build.stat_cache import StatCache
from storage.build.trees import SourceTree
from storage.build.unpacking import is_archive
from storage.files import read_file, write_file
from storage.layers import read_layer
from storage.record import NamedTuple
from storage.tar_writer import Times

_HEREDOC = "<<"
_MAX_ID = 2**31 - 1


class Copied(NamedTuple):
    """The layer, and lines about what was left out."""

    layer: Layer
    notes: tuple[str, ...]


class Copying:
    """One COPY or ADD whose words are expanded.

    `origin` is the context, or the root file system that --from names. Raises BuildError,
    BuildInputError for what can be seen from the words, and what fetching raises.
    """

    def __init__(
        self,
        workplace: Workplace,
        instruction: Copy | Add,
        origin: Context | Tree,
        scope: CopyScope,
    ) -> None:
        self._workplace = workplace
        self._instruction = instruction
        self._origin = origin
        self._fetched: dict[str, tuple[SourceTree, Selected]] = {}
        self._picked: list[Picked] | None = None
        self._rules = _rules(instruction, scope)
        self._fetch()

    def digest(self) -> str:
        """Return the digest of everything that is copied. Raises BuildInputError, ContextError."""
        if isinstance(self._origin, Context):
            return self._digest_context(self._origin)
        return self._digest_tree(self._origin)

    def commit(self, below: Tree, options: LayerOptions) -> Copied:
        """Make the layer on top of `below`, blob and unpacked tree.

        Raises BuildInputError, ContextError, StoreUnusable, DiskFull.
        """
        layout, key = self._workplace.layout, self._workplace.map_key
        rules = self._rules._replace(
            now_ns=time.time_ns(), times=Times(options.latest_s, options.exact)
        )
        form = LayerForm(options.compression, same_everywhere=options.latest_s is not None)
        below_ids = tuple(read_layer(layout, key, chain).diff_id for chain in below.chain_ids)
        if isinstance(self._origin, Context):
            self._pick(self._origin.tree)

        def work(_: object) -> object:
            base = open_layers(self._workplace, below)
            copy = LayerCopy(base, rules)
            try:
                chunks = copy.chunks(self._picked or self._pick(self._open_origin()))
                written = write_layer(layout, key, below_ids, chunks, form)
            except OSError as error:
                raise BuildInputError(f"copy: {error.strerror}: {error.filename}") from error
            return [list(written[:4]), copy.notes, sorted(set(copy.changed))]

        found = self._workplace.run(work)
        assert isinstance(found, list)
        layer, notes, changed = found
        if changed:
            raise ContextError(
                f"{changed[0]} changes while it is read",
                remedy="run the command again when nothing writes there, or leave it out with a"
                " .containerignore file",
            )
        return Copied(Layer(*layer), tuple(notes))

    def _open_origin(self) -> SourceTree:
        if isinstance(self._origin, Context):
            return self._origin.tree
        return open_layers(self._workplace, self._origin)

    def _digest_context(self, context: Context) -> str:
        picked = self._pick(context.tree)
        files = content_files(picked, self._rules.exclude)
        digests = {}
        for position, one in enumerate(picked):
            nodes = [node for number, node in files if number == position]
            cache = context.cache if one.tree is context.tree else StatCache("")
            digests.update(hash_files(one.tree, nodes, cache).digests)
        return input_digest(picked, self._rules, digests)

    def _digest_tree(self, tree: Tree) -> str:
        """Return the digest of what is copied of layers; they never change, so it is kept."""
        path = self._workplace.layout.build_input(self._question(tree))
        try:
            return read_file(path).decode()
        except OSError:
            pass

        def work(_: object) -> object:
            picked = self._pick(self._open_origin())
            files = content_files(picked, self._rules.exclude)
            digests = {}
            for position, one in enumerate(picked):
                nodes = [node for number, node in files if number == position]
                digests.update(hash_files(one.tree, nodes, StatCache("")).digests)
            return input_digest(picked, self._rules, digests)

        digest = str(self._workplace.run(work))
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_file(path, digest.encode(), sync=False)
        return digest

    def _question(self, tree: Tree) -> str:
        rules = self._rules
        instruction = self._instruction
        fetched = [one[1].node.found.st_mtime_ns for one in self._fetched.values()]
        text = json.dumps(
            [
                tree.chain_ids, instruction.sources, rules.owner, rules.chmod, rules.exclude,
                rules.parents, [document.content for document in instruction.heredocs], fetched,
            ]
        )  # fmt: skip
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    def _fetch(self) -> None:
        """Get what does not come from the origin: documents, URLs, repositories."""
        documents = iter(self._instruction.heredocs)
        for source in self._instruction.sources:
            if source.startswith(_HEREDOC):
                self._fetched[source] = self._document(next(documents))
            elif isinstance(self._instruction, Add) and is_git(source):
                keep = self._instruction.keep_git_dir
                self._fetched[source] = fetch_git(
                    self._workplace, source, keep_git_dir=keep,
                    checksum=self._instruction.checksum,
                )  # fmt: skip
            elif isinstance(self._instruction, Add) and is_url(source):
                self._fetched[source] = fetch_url(
                    self._workplace, source, self._instruction.checksum
                )
        if isinstance(self._instruction, Add) and self._instruction.checksum:
            sources = self._instruction.sources
            if len(sources) != 1 or not (is_url(sources[0]) or is_git(sources[0])):
                raise BuildError("ADD --checksum is for one source that is a URL or a repository")

    def _document(self, document: Heredoc) -> tuple[SourceTree, Selected]:
        directory = self._workplace.fresh_directory()
        path = f"{directory}/document"
        with open(path, "xb") as file:
            file.write(document.content.encode(errors="surrogateescape"))
        os.chmod(path, 0o644)
        tree = HostTree(directory, name="the Containerfile")
        (node,) = tree.children(tree.root()).values()
        return tree, Selected(os.fsencode(document.name.rpartition("/")[2]), node)

    def _pick(self, tree: SourceTree) -> list[Picked]:
        """Return what the sources stand for, once for each process."""
        if self._picked is not None:
            return self._picked
        instruction = self._instruction
        unpack = instruction.unpack if isinstance(instruction, Add) else False
        picked: list[Picked] = []
        for source in instruction.sources:
            fetched = self._fetched.get(source)
            if fetched is not None:
                archive = unpack is True and is_archive(fetched[0], fetched[1].node)
                picked.append(Picked(fetched[0], fetched[1], archive))
                continue
            for selected in select(tree, source, parents=self._rules.parents):
                archive = unpack is not False and is_archive(tree, selected.node)
                picked.append(Picked(tree, selected, archive))
        if not picked:
            raise BuildInputError(
                f"no files match {' '.join(instruction.sources)} in {tree.name}",
                remedy="an ignore file may leave them out",
            )
        self._picked = picked
        return picked


def _rules(instruction: Copy | Add, scope: CopyScope) -> CopyRules:
    target = instruction.target
    into = target.endswith(("/", "/.")) or target in ("", ".", "..")
    if not target.startswith("/"):
        target = f"{scope.workdir or '/'}/{target}"
    if len(instruction.sources) > 1 and not into:
        raise BuildError(
            "when using COPY or ADD with more than one source file, the destination must be a"
            " directory and end with a /",
            remedy=f"write {instruction.target}/",
        )
    if instruction.chmod:
        ModeChange(instruction.chmod)
    return CopyRules(
        target,
        into,
        parse_owner(instruction.chown, scope) if instruction.chown else None,
        instruction.chmod,
        instruction.link,
        instruction.parents if isinstance(instruction, Copy) else False,
        instruction.exclude,
    )


def parse_owner(text: str, scope: CopyScope) -> tuple[int, int]:
    """Return the ids of --chown=USER[:GROUP], names by the stage's accounts.

    A user without a group has the group of their account; of a number, that number.
    Raises BuildError.
    """
    user, separator, group = text.partition(":")
    if not user or (separator and not group):
        raise BuildError(f"--chown={text[:60]}: it is not USER[:GROUP]")
    if user.isdecimal():
        uid, gid = _number(user, text), _number(user, text)
    else:
        account = next((one for one in parse_passwd(scope.passwd) if one.name == user), None)
        if account is None:
            raise BuildError(
                f"--chown={text[:60]}: unable to find user {user}: no matching entries in passwd"
                " file",
                remedy="give a number, or a user that the stage's /etc/passwd has",
            )
        uid, gid = account.uid, account.gid
    if group:
        gid = _find_group(group, text, scope)
    return uid, gid


def _find_group(group: str, text: str, scope: CopyScope) -> int:
    if group.isdecimal():
        return _number(group, text)
    for name, gid, _ in parse_group(scope.group):
        if name == group:
            return gid
    raise BuildError(
        f"--chown={text[:60]}: unable to find group {group}: no matching entries in group file",
        remedy="give a number, or a group that the stage's /etc/group has",
    )


def _number(digits: str, text: str) -> int:
    if len(digits) > 10 or int(digits) > _MAX_ID:
        raise BuildError(f"--chown={text[:60]}: the id {digits[:20]} is out of range")
    return int(digits)

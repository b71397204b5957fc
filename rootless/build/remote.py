"""What a build fetches: files by URL, repositories by git. Nothing of it is trusted.

Downloads are kept in the build cache with what the server said about them, so that the next build
only asks whether they have changed.
"""

import hashlib
import os
import re

from rootless.build.errors import BuildError
from rootless.build.workplace import Workplace
from storage import lightjson as json
from storage.build.errors import ContextError
from storage.build.host_tree import HostTree
from storage.build.patterns import Patterns
from storage.build.selection import Selected
from storage.build.trees import SourceTree, resolve
from storage.digest import is_digest, short_hash
from storage.errors import from_os_error
from storage.files import read_file, write_file
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from urllib.parse import SplitResult

_CHUNK_BYTES = 1 << 18
_GIT_TIMEOUT_S = 1800
_GIT_SCHEMES = ("git://", "ssh://", "git+ssh://", "git+http://", "git+https://")
_SCP_FORM = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:(?!//)")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT_START = re.compile(r"[0-9a-fA-F]{7,64}")
_REFS = {"ref": "", "tag": "refs/tags/", "branch": "refs/heads/"}
_NOT_MODIFIED = 304
_OK = 200


def is_url(text: str) -> bool:
    """Tell whether a source or a context is fetched by HTTP."""
    return text.startswith(("http://", "https://"))


def is_git(text: str) -> bool:
    """Tell whether it is a repository: docker's rules for contexts and ADD."""
    plain = text.partition("#")[0]
    if plain.startswith(_GIT_SCHEMES) or _SCP_FORM.match(plain):
        return True
    if plain.startswith("github.com/"):
        return True
    return is_url(plain) and _split(plain).path.endswith(".git")


class Download(NamedTuple):
    """A file that has been fetched, and the time of its last change, 0 when nobody knows."""

    path: str
    digest: str
    modified_s: int


def download(workplace: Workplace, url: str) -> Download:
    """Fetch a URL, or take what is here when the server says that it has not changed.

    Raises ContextError, RegistryUnreachable and its kinds, StoreUnusable, DiskFull.
    """
    layout = workplace.layout
    record = layout.build_download(short_hash(url))
    known = _known(record, url)
    headers = {}
    if known is not None and os.path.exists(layout.build_download(known["digest"])):
        if known.get("etag"):
            headers["If-None-Match"] = known["etag"]
        if known.get("last_modified"):
            headers["If-Modified-Since"] = known["last_modified"]
    from storage.registry.options import PullOptions
    from storage.registry.transport import Transport

    doing = f"download {_shown(url)}"
    transport = Transport(
        _split(url).netloc, PullOptions(), workplace.host.environ, plain_http=True
    )
    with transport.request("GET", url, doing=doing, headers=headers) as response:
        if response.status == _NOT_MODIFIED and known is not None and headers:
            facts = known
        elif response.status == _OK:
            facts = {
                "url": url,
                "etag": response.headers.get("ETag", ""),
                "last_modified": response.headers.get("Last-Modified", ""),
                "digest": _store(workplace, response),
            }
            write_file(record, json.dumps(facts).encode(), mode=0o600, sync=False)
        else:
            raise ContextError(f"{doing}: the server answered with status {response.status}")
    path = f"{workplace.fresh_directory()}/download"
    _link(layout.build_download(facts["digest"]), path)
    return Download(path, f"sha256:{facts['digest']}", _seconds(facts["last_modified"]))


def _known(record: str, url: str) -> dict[str, str] | None:
    try:
        found = json.loads(read_file(record))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("url") != url:
        return None
    facts = {str(key): str(value) for key, value in found.items()}
    return facts if is_digest(f"sha256:{facts.get('digest', '')}") else None


def _store(workplace: Workplace, response: "object") -> str:
    from storage.registry.transport import Response

    assert isinstance(response, Response)
    digest = hashlib.sha256()
    path = f"{workplace.fresh_directory()}/arriving"
    wanted = response.content_length
    size = 0
    try:
        with open(path, "xb", buffering=0) as file:
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
        if wanted is not None and size != wanted:
            raise ContextError(f"{response.doing}: {size} of {wanted} bytes have arrived")
        final = workplace.layout.build_download(digest.hexdigest())
        os.makedirs(os.path.dirname(final), mode=0o700, exist_ok=True)
        os.rename(path, final)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error
    return digest.hexdigest()


def _link(source: str, target: str) -> None:
    """Keep a download alive for this build, whatever is pruned meanwhile."""
    import shutil

    # A copy: mode and time of the file are this build's.
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise from_os_error(f"copy {source}", error) from error


def _split(url: str) -> "SplitResult":
    from urllib.parse import urlsplit

    return urlsplit(url)


def _seconds(text: str) -> int:
    import email.utils

    try:
        return max(0, int(email.utils.parsedate_to_datetime(text).timestamp())) if text else 0
    except (ValueError, OverflowError):
        return 0


def _shown(url: str) -> str:
    """Return a URL for messages: without a password, and in one line."""
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    text = f"{parts.scheme}://{host}{parts.path}"
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def fetch_url(workplace: Workplace, url: str, checksum: str) -> tuple[SourceTree, Selected]:
    """Return the file that ADD makes of a URL: mode 0600, the time as the server said.

    Raises BuildError for a wrong checksum, and as `download`.
    """
    if checksum and not is_digest(checksum):
        raise BuildError(
            f"ADD --checksum={checksum[:80]}: it is not a digest",
            remedy="give sha256: and 64 hexadecimal digits",
        )
    found = download(workplace, url)
    if checksum and found.digest != checksum:
        raise BuildError(
            f"ADD {_shown(url)}: its digest is {found.digest}, not {checksum}",
            remedy="somebody has changed it, or the checksum is that of another file",
        )
    from urllib.parse import unquote

    name = unquote(_split(url).path.rpartition("/")[2])
    if "/" in name or "\0" in name or name in (".", ".."):
        name = ""
    os.chmod(found.path, 0o600)
    os.utime(found.path, (found.modified_s, found.modified_s))
    tree = HostTree(os.path.dirname(found.path), name=_shown(url))
    (node,) = tree.children(tree.root()).values()
    return tree, Selected(os.fsencode(name or "index.html"), node)


# Repositories.


class Repository(NamedTuple):
    """A repository to fetch; what is not asked for is empty.

    `commit` is what must have been found, whatever `ref` says; `keep_git_dir` None leaves it to the
    instruction.
    """

    url: str
    ref: str = ""
    directory: str = ""
    commit: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True


def parse_repository(text: str) -> Repository:
    """Read URL[#REF[:DIRECTORY]], or URL?KEY=VALUE&... (Dockerfile 1.18). Raises BuildError."""
    url, _, fragment = text.partition("#")
    ref, _, directory = fragment.partition(":")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    url = url.removeprefix("git+")
    if ref.startswith("-") or url.startswith("-") or "\0" in text or "\n" in text:
        raise BuildError(f"repository {text[:100]!r}: it cannot be a name of git's")
    plain, mark, query = url.partition("?")
    if not mark or _SCP_FORM.match(url):
        return Repository(url, ref, directory)
    if fragment:
        raise BuildError(f"repository {_shown_repository(text)}: give either ?KEY=VALUE or #REF")
    return _by_query(plain, query)


def _by_query(url: str, query: str) -> Repository:
    """Read the keys that docker's ADD and contexts know. Raises BuildError."""
    from urllib.parse import parse_qsl

    found = dict(parse_qsl(query, keep_blank_values=True))
    refs = [(key, found.pop(key)) for key in _REFS if key in found]
    directory = found.pop("subdir", "")
    commit = found.pop("checksum", "") or found.pop("commit", "")
    keep, submodules = found.pop("keep-git-dir", ""), found.pop("submodules", "true")
    where = f"repository {_shown_repository(url)}"
    if found:
        raise BuildError(
            f"{where}: unknown key {next(iter(found))[:40]!r}",
            remedy="known: ref, tag, branch, checksum, commit, subdir, keep-git-dir, submodules",
        )
    if len(refs) > 1:
        raise BuildError(f"{where}: only one of ref, tag and branch can be given")
    key, ref = refs[0] if refs else ("ref", "")
    if ref.startswith("-"):
        raise BuildError(f"{where}: {ref[:100]!r} cannot be a name of git's")
    return Repository(
        url,
        f"{_REFS[key]}{ref}",
        directory,
        _commit(where, commit),
        None if not keep else keep == "true",
        submodules != "false",
    )


def _commit(where: str, text: str) -> str:
    """Return what a commit must begin with. Raises BuildError."""
    if text and not _COMMIT_START.fullmatch(text):
        raise BuildError(
            f"{where}: {text[:80]!r} is no commit",
            remedy="give 7 to 64 hexadecimal digits",
        )
    return text.lower()


def checkout(workplace: Workplace, text: str) -> str:
    """Fetch a repository; return the directory that was asked for. Raises ContextError."""
    return _checkout(workplace, parse_repository(text))


def fetch_git(
    workplace: Workplace, text: str, *, keep_git_dir: bool, checksum: str = ""
) -> tuple[SourceTree, Selected]:
    """Return the files that ADD makes of a repository; `checksum` is that of the commit.

    Raises ContextError, BuildError.
    """
    wanted = parse_repository(text)
    if checksum:
        wanted = wanted._replace(commit=_commit("ADD --checksum", checksum))
    keep_git_dir = keep_git_dir if wanted.keep_git_dir is None else wanted.keep_git_dir
    directory = _checkout(workplace, wanted)
    ignore = None if keep_git_dir else Patterns(["**/.git"])
    tree = HostTree(directory, name=_shown_repository(text), ignore=ignore)
    return tree, Selected(b"", tree.root())


def _shown_repository(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//", text)[:200]


def _checkout(workplace: Workplace, wanted: Repository) -> str:
    top = workplace.fresh_directory()
    shown = _shown_repository(wanted.url)
    git = _Git(workplace, top, shown)
    git("init", "--quiet", "--template=", ".")
    git("remote", "add", "--", "origin", wanted.url)
    whole = _COMMIT.fullmatch(wanted.commit)
    ref = wanted.ref or (wanted.commit if whole else "HEAD")
    if not git("fetch", "--quiet", "--depth=1", "origin", "--", ref, tolerate=True):
        # A server that does not hand out any commit by its name.
        git("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
        git("update-ref", "FETCH_HEAD", git.commit_of(ref))
    git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    if wanted.commit:
        found = git.output("rev-parse", "HEAD").strip()
        if not found.startswith(wanted.commit):
            raise BuildError(
                f"repository {shown}: {ref} is the commit {found}, not {wanted.commit}",
                remedy="somebody has moved it, or the checksum is that of another commit",
            )
    if wanted.submodules and os.path.lexists(f"{top}/.gitmodules"):
        git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    moment_s = int(git.output("show", "--no-patch", "--format=%ct", "HEAD").strip())
    _set_times(top, moment_s)
    if not wanted.directory:
        return top
    tree = HostTree(top)
    try:
        place = resolve(tree, os.fsencode(wanted.directory))
    finally:
        tree.close()
    if place.missing or not place.node.is_directory:
        raise ContextError(f"repository {shown}: there is no directory {wanted.directory[:100]!r}")
    return os.path.join(top, os.fsdecode(place.node.path)) if place.node.path else top


def _set_times(top: str, moment_s: int) -> None:
    """Give every file the time of the commit: a checkout has that of the checkout."""
    for directory, directories, files in os.walk(top):
        if directory == top and ".git" in directories:
            directories.remove(".git")
        for name in (*directories, *files):
            os.utime(f"{directory}/{name}", (moment_s, moment_s), follow_symlinks=False)
    os.utime(top, (moment_s, moment_s))


class _Git:
    """Runs git in one directory, without what could ask or execute something."""

    def __init__(self, workplace: Workplace, top: str, shown: str) -> None:
        self._top = top
        self._shown = shown
        self._environment = {
            **{key: value for key, value in workplace.host.environ.items() if key[:4] != "GIT_"},
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "git:http:https:ssh",
            "GIT_CEILING_DIRECTORIES": os.path.dirname(top),
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *arguments: str, tolerate: bool = False) -> bool:
        done = self._run(arguments)
        if done.returncode and not tolerate:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise ContextError(
                f"repository {self._shown}: git {arguments[0]}:"
                f" {said[-1][:300] if said else f'exit status {done.returncode}'}"
            )
        return done.returncode == 0

    def output(self, *arguments: str) -> str:
        """Return what git prints. Raises ContextError."""
        done = self._run(arguments)
        if done.returncode:
            raise ContextError(f"repository {self._shown}: git {arguments[0]} failed")
        return done.stdout.decode(errors="replace")

    def commit_of(self, ref: str) -> str:
        """Return the commit that a branch, a tag or a beginning of a digest stands for."""
        for name in (f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref):
            done = self._run(("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))
            found = done.stdout.decode().strip()
            if _COMMIT.fullmatch(found):
                return found
        raise ContextError(f"repository {self._shown}: there is no {ref[:100]!r} in it")

    def _run(self, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[bytes]":
        import subprocess

        options = (
            "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
            "-c", "advice.detachedHead=false", "-c", "core.symlinks=true",
            "-c", "init.defaultBranch=main",
        )  # fmt: skip
        try:
            return subprocess.run(
                ("git", *options, *arguments),
                cwd=self._top,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_TIMEOUT_S,
                umask=0o022,
                check=False,
            )
        except FileNotFoundError as error:
            raise ContextError(
                f"repository {self._shown}: git is not installed",
                remedy="install it: apt-get install git",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ContextError(
                f"repository {self._shown}: git {arguments[0]} took more than"
                f" {_GIT_TIMEOUT_S} seconds"
            ) from error

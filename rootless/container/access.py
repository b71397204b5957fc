"""Who may do what with a bind mount's source: `rpod explain`. Looks only; makes nothing.

The kernel's rules: path_resolution(7) for the way to the source, which the caller goes, and the
mode of the source for the container's user. Root inside has CAP_DAC_OVERRIDE, which counts only
for a file whose user and group are both mapped (capabilities(7), user_namespaces(7)).
"""

import grp
import os
import pwd
import shlex
import stat

from rootless.container.fetching import pull_settings
from rootless.container.idmap import KEEP_ID, UserNamespace, choose, fit_single_id, storage_maps
from rootless.container.merged import Accounts, read_accounts
from rootless.container.mounts import BIND, parse_volume
from rootless.container.reach import first_blocked
from rootless.container.request import ContainerRequest
from rootless.container.users import check_mapped, resolve_user
from rootless.errors import MountSourceMissing, UsageError
from rootless.linux.userns import IdRange, to_host
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.mounts import UserMount
    from rootless.container.users import User
    from rootless.host.paths import Host

_READ, _WRITE, _SEARCH = 4, 2, 1
_SHOWN_UNMAPPED = 65534
_ACL = "system.posix_acl_access"


class Access(NamedTuple):
    """What was found. Ids inside are None where the namespace does not map them.

    `blocked` is the first path component that keeps the caller out, empty for none; `may` has the
    letters of r, w and x that the container's user has on the source.
    """

    source: str
    target: str
    mode: str
    owner_uid: int
    owner_gid: int
    owner: str
    inside_uid: int | None
    inside_gid: int | None
    user_uid: int
    user_gid: int
    user_host_uid: int
    user_host_gid: int
    may: str
    blocked: str
    notes: tuple[str, ...]
    remedies: tuple[str, ...]


def explain(host: "Host", volume: str, cwd: str, request: ContainerRequest) -> Access:
    """Explain one `-v SOURCE:TARGET`; `request` has the image ("" for none), user and userns.

    Raises UsageError, MountSourceMissing, UnknownUser, ImageNotFound.
    """
    mount = parse_volume(volume, cwd)
    if mount.kind != BIND:
        raise UsageError(
            f'explain "{volume}": only a path of the host can be explained',
            remedy="give a source that begins with / or .",
        )
    namespace, user = _user(host, request)
    blocked = first_blocked(mount.source, host.uid)
    if blocked:
        return _no_way(mount, user, namespace, blocked)
    try:
        found = os.stat(mount.source)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise MountSourceMissing(
            f"explain {mount.source}: {why}", remedy="make it, or correct the path"
        ) from error
    uid, gid = _host_ids(namespace, user)
    groups = tuple(
        one for group in user.groups if (one := to_host(namespace.maps.gids, group)) is not None
    )
    inside = (
        to_inside(namespace.maps.uids, found.st_uid),
        to_inside(namespace.maps.gids, found.st_gid),
    )
    if mount.chown and None not in inside:
        # -v ...:U gives the source to the container's user before the start: chown(2) takes a
        # file whose user and group are both mapped.
        bits = found.st_mode >> 6 & 7
    else:
        bits = permitted(found, uid, (gid, *groups))
    if user.uid == 0 and None not in inside:
        bits |= _READ | _WRITE | (_SEARCH if stat.S_ISDIR(found.st_mode) else 0)
    notes = _notes(mount, found, inside)
    if "ro" in mount.options or "rro" in mount.options or _is_read_only(mount.source):
        bits &= ~_WRITE
    access = _access(mount, user, (uid, gid), found, inside)
    may = letters(bits)
    remedies = _remedies(host, request, access, may, mount)
    return access._replace(may=may, notes=notes, remedies=remedies)


def _user(host: "Host", request: ContainerRequest) -> "tuple[UserNamespace, User]":
    """Return the namespace and the container's user in it, from the image where one is named."""
    namespace = choose(request.userns, host.id_maps(), host.uid, host.gid)
    accounts, text = Accounts(b"", b""), ""
    if request.image:
        accounts, text = _from_image(host, request, namespace)
    if request.user is not None:
        text = request.user
    elif namespace.mode == KEEP_ID:
        text = f"{namespace.own_uid}:{namespace.own_gid}"
    user = resolve_user(text, accounts.passwd, accounts.group, request.group_add)
    namespace = fit_single_id(namespace, user.uid, user.gid)
    return namespace, check_mapped(user, namespace.maps)


def _from_image(
    host: "Host", request: ContainerRequest, namespace: UserNamespace
) -> tuple[Accounts, str]:
    """Return the image's accounts, where its layers are unpacked already, and its user."""
    from rootless import images
    from storage.layers import map_key

    image = images.obtain(host, request.image, pull_settings(request))
    maps = storage_maps(namespace, host.id_maps())
    key = map_key(maps.uids, maps.gids)
    layers = [host.layout.layer_diff(key, chain) for chain in reversed(image.chain_ids)]
    accounts = Accounts(b"", b"")
    if all(os.path.isdir(layer) for layer in layers):
        accounts = read_accounts(layers, maps)
    return accounts, images.config_of(host, image).user


def _host_ids(namespace: UserNamespace, user: "User") -> tuple[int, int]:
    uid, gid = to_host(namespace.maps.uids, user.uid), to_host(namespace.maps.gids, user.gid)
    assert uid is not None and gid is not None  # check_mapped() has seen to it
    return uid, gid


def to_inside(ranges: tuple[IdRange, ...], host_id: int) -> int | None:
    """Return the container's id for one of the host, None when it is not mapped."""
    for inside, outside, count in ranges:
        if outside <= host_id < outside + count:
            return inside + host_id - outside
    return None


def permitted(found: os.stat_result, uid: int, gids: tuple[int, ...]) -> int:
    """Return the rwx bits of the one class of the mode that counts: owner, group or others."""
    if found.st_uid == uid:
        return found.st_mode >> 6 & 7
    if found.st_gid in gids:
        return found.st_mode >> 3 & 7
    return found.st_mode & 7


def letters(bits: int) -> str:
    """Return "rw" for 6; "nothing" for 0."""
    return "".join(letter for letter, bit in zip("rwx", (4, 2, 1), strict=True) if bits & bit) or (
        "nothing"
    )


def _no_way(mount: "UserMount", user: "User", namespace: UserNamespace, blocked: str) -> Access:
    found = os.stat(blocked)
    inside = (
        to_inside(namespace.maps.uids, found.st_uid),
        to_inside(namespace.maps.gids, found.st_gid),
    )
    access = _access(mount, user, _host_ids(namespace, user), found, inside)
    path = shlex.quote(blocked)
    if found.st_uid == os.geteuid():
        remedies = [f"chmod u+x {path}"]
    else:
        remedies = [
            f"setfacl -m u:{os.geteuid()}:x {path}  (by {_name(found.st_uid)}, its owner)",
            "or move the source to a directory of your own",
        ]
    return access._replace(may="nothing", blocked=blocked, remedies=tuple(remedies))


def _access(
    mount: "UserMount",
    user: "User",
    host_ids: tuple[int, int],
    found: os.stat_result,
    inside: tuple[int | None, int | None],
) -> Access:
    return Access(
        source=mount.source,
        target=mount.target,
        mode=stat.filemode(found.st_mode),
        owner_uid=found.st_uid,
        owner_gid=found.st_gid,
        owner=f"{_name(found.st_uid)}:{_group_name(found.st_gid)}",
        inside_uid=inside[0],
        inside_gid=inside[1],
        user_uid=user.uid,
        user_gid=user.gid,
        user_host_uid=host_ids[0],
        user_host_gid=host_ids[1],
        may="",
        blocked="",
        notes=(),
        remedies=(),
    )


def _notes(
    mount: "UserMount", found: os.stat_result, inside: tuple[int | None, int | None]
) -> tuple[str, ...]:
    notes = []
    if None in inside:
        notes.append(f"an owner that is not mapped is shown as {_SHOWN_UNMAPPED} (nobody) inside")
    try:
        if os.getxattr(mount.source, _ACL):
            notes.append("it has an access control list, which this look at the mode leaves out")
    except OSError:
        pass  # none, or a file system without them
    if mount.chown and None not in inside:
        notes.append("U: it is given to the container's user at the start")
    return tuple(notes)


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _remedies(
    host: "Host", request: ContainerRequest, access: Access, may: str, mount: "UserMount"
) -> tuple[str, ...]:
    """Return what would give the container's user what it lacks, the least change first."""
    read_only = "ro" in mount.options or "rro" in mount.options or _is_read_only(mount.source)
    wanted = "r" if read_only else "rw"
    wanted += "x" if access.mode.startswith("d") else ""
    if all(letter in may for letter in wanted):
        return ()
    path, target = shlex.quote(access.source), shlex.quote(access.target)
    remedies = []
    if access.owner_uid != host.uid:
        if "r" in may and not read_only:
            remedies.append(f"-v {path}:{target}:ro  (for reading, which it may)")
        rights = f"u:{access.user_host_uid}:{wanted.replace('x', 'X')}"
        owner = _name(access.owner_uid)
        remedies.append(f"setfacl -m {rights} {path}  (by {owner}, its owner)")
        return tuple(remedies)
    if access.user_host_uid == host.uid:
        return (f"chmod u+{wanted.replace('x', 'X')} {path}",)
    ids = f":uid={access.user_uid},gid={access.user_gid}" if request.user else ""
    remedies.append(f"--userns=keep-id{ids}  (the container's user is you)")
    if access.inside_uid is not None and access.inside_gid is not None:
        remedies.append(f"-v {path}:{target}:U  (changes the owner on disk)")
    remedies.append(f"chmod o+{wanted.replace('x', 'X')} {path}  (everybody on this host)")
    return tuple(remedies)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

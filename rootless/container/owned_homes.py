"""Whether what a container is for needs to see the owners of files, as a service's data does.

A server as PostgreSQL compares the owner of its data with whom it runs as, so under root emulation
stat has to be answered, which costs every program that asks. What tells such an image from others,
without a look at every file, is its passwd(5): an account that owns its home, and the home is no
person's (/home) and no directory of the system. What installs such a server starts it, too.
"""

from rootless.container.merged import Accounts, find_directory
from rootless.container.users import parse_passwd
from storage import owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_DATA = ("bin", "boot", "dev", "etc", "home", "lib", "proc", "root", "run", "sbin", "sys", "usr")
_PACKAGE_MANAGERS = frozenset((
    "apk", "apt", "apt-get", "aptitude", "dnf", "dnf5", "dpkg", "microdnf", "pacman", "rpm", "yum",
    "zypper",
))  # fmt: skip


def names_package_manager(command: "Sequence[str]") -> bool:
    """Tell whether a command is one, or a shell's line with one in it."""
    words = [word for text in command for word in text.replace(";", " ").split()]
    return any(word.rpartition("/")[2] in _PACKAGE_MANAGERS for word in words)


def has_owned_home(layers: list[str], accounts: Accounts) -> bool:
    """Tell whether an account of unpacked layers, the top one first, owns the place of its data."""
    return bool(owned_homes(layers, accounts.passwd, enough=1))


def owned_homes(layers: list[str], passwd: bytes, *, enough: int = 0) -> dict[str, int]:
    """Return the homes, at most `enough` of them, and the ids of their owners."""
    known: dict[str, list[str]] = {}
    homes: dict[str, int] = {}
    try:
        for account in parse_passwd(passwd):
            if account.uid == 0 or not _may_be_data(account.home):
                continue
            found = find_directory(layers, account.home, known)
            owner = owners.recorded(found[0]) if found else None
            if owner is not None and owner.uid == account.uid:
                homes[account.home] = account.uid
                if len(homes) == enough:
                    break
    except OSError:
        return homes  # EACCES: hidden by the image itself
    return homes


def _may_be_data(home: str) -> bool:
    top, *rest = home.strip("/").split("/")
    if not home.startswith("/") or ".." in rest or "\0" in home:
        return False
    return top not in ("", "..", "nonexistent", *_NO_DATA)

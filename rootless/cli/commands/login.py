"""login and logout: who the user is at a registry."""

import os
import sys

from rootless.cli.output import write
from rootless.errors import UsageError
from storage.errors import RegistryDenied
from storage.registry.login import (
    Server,
    auth_path,
    check_login,
    known_login,
    parse_server,
    remove_all_logins,
    remove_login,
    save_login,
)
from storage.registry.options import Credentials, PullOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_SECRET_LIMIT_BYTES = 1 << 20


def login(invocation: "Invocation") -> int:
    """Show credentials to a registry and keep them."""
    server = parse_server(invocation.text("registry") or "docker.io")
    authfile = invocation.text("authfile") or None
    if invocation.flag("get_login"):
        return _print_login(server, authfile)
    verify = invocation.value("tls_verify")
    options = PullOptions(
        tls_verify=None if verify is None else bool(verify),
        ca_dir=invocation.text("cert_dir") or None,
    )
    user, password = invocation.text("username"), _given_password(invocation)
    if not user and not password and _is_known(server, authfile, options):
        write(f"Existing credentials are valid. Already logged in to {server.key}\n")
        return 0
    credentials = Credentials(user or _ask_user(server), password or _ask_password(server))
    check_login(server, credentials, options, os.environ)
    path = auth_path(os.environ, authfile)
    save_login(path, server, credentials, os.environ)
    if invocation.flag("verbose"):
        write(f"Used:  {path}\n")
    write("Login Succeeded!\n")
    return 0


def _print_login(server: Server, authfile: str | None) -> int:
    known = known_login(server, os.environ, authfile)
    if known is None:
        raise _not_logged_in(server)
    write(f"{known.user}\n")
    return 0


def _not_logged_in(server: Server) -> RegistryDenied:
    return RegistryDenied(f"not logged into {server.key}", remedy=f"rpod login {server.key}")


def _given_password(invocation: "Invocation") -> str:
    """Return the password of the options, empty when it is to be asked for. Raises UsageError."""
    password = invocation.text("password")
    if not invocation.flag("password_stdin"):
        return password
    if password:
        raise UsageError("--password and --password-stdin do not go together")
    if not invocation.text("username"):
        raise UsageError("--password-stdin needs a user", remedy="add --username USER")
    data = sys.stdin.buffer.read(_SECRET_LIMIT_BYTES)
    try:
        found = data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("--password-stdin: the password is not UTF-8 text") from error
    if not found:
        raise UsageError("--password-stdin: standard input is empty")
    return found


def _is_known(server: Server, authfile: str | None, options: PullOptions) -> bool:
    """Tell whether the registry accepts what the user's files say."""
    known = known_login(server, os.environ, authfile)
    if known is None:
        return False
    sys.stderr.write(f"Authenticating with existing credentials for {server.key}\n")
    try:
        check_login(server, known, options, os.environ)
    except RegistryDenied:
        sys.stderr.write("Existing credentials are invalid, please enter valid user and password\n")
        return False
    return True


def _ask_user(server: Server) -> str:
    _need_terminal(server)
    sys.stderr.write("Username: ")
    sys.stderr.flush()
    user = sys.stdin.readline().strip()
    if not user:
        raise UsageError(f"log in to {server.key}: no user", remedy="give --username USER")
    return user


def _ask_password(server: Server) -> str:
    import getpass

    _need_terminal(server)
    return getpass.getpass("Password: ")


def _need_terminal(server: Server) -> None:
    if not os.isatty(0):
        raise UsageError(
            f"log in to {server.key}: standard input is not a terminal to ask on",
            remedy="give --username USER --password-stdin",
        )


def logout(invocation: "Invocation") -> int:
    """Forget the credentials for a registry, or for all."""
    authfile = invocation.text("authfile") or None
    path = auth_path(os.environ, authfile)
    name = invocation.text("registry")
    if invocation.flag("all"):
        if name:
            raise UsageError("--all and a registry do not go together")
        remove_all_logins(path, os.environ)
        write("Removed login credentials for all registries\n")
        return 0
    server = parse_server(name or "docker.io")
    if remove_login(path, server, os.environ):
        write(f"Removed login credentials for {server.key}\n")
        return 0
    if known_login(server, os.environ, authfile) is not None:
        write(
            f"Not logged into {server.key} with current tool. Existing credentials were"
            " established by another one, or for all of its host.\n"
        )
        return 0
    raise _not_logged_in(server)

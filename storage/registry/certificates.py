"""TLS: the system's authorities, a registry's own, and client certificates.

containers-certs.d(5): a directory for each HOST[:PORT] with *.crt (authorities), *.cert and *.key
(client certificate and its key).
"""

import os

from storage.errors import RegistryUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_SYSTEM_DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")


def find_certificates(
    host_port: str, environment: "Mapping[str, str]", *, ca_dir: str | None = None
) -> str | None:
    """Return the directory with the certificates for a registry, None when there is none.

    Raises RegistryUnreachable when `ca_dir` was given and is not there.
    """
    if ca_dir is not None:
        if not os.path.isdir(ca_dir):
            raise RegistryUnreachable(
                f"read certificates from {ca_dir}: not a directory",
                remedy="give a directory that has *.crt files: --cert-dir DIR",
            )
        return ca_dir
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    users = (f"{config}/containers/certs.d",) if config else ()
    for directory in (*users, *_SYSTEM_DIRECTORIES):
        path = f"{directory}/{host_port}"
        if os.path.isdir(path):
            return path
    return None


def make_context(*, verify: bool, directory: str | None, with_own: bool = True) -> "ssl.SSLContext":
    """Make a TLS client context with the system's authorities and those of `directory`.

    Its client certificates are left out without `with_own`.
    Raises RegistryUnreachable for a certificate that cannot be read.
    """
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if directory is not None:
        _load_directory(context, directory, with_own=with_own)
    return context


def _load_directory(context: "ssl.SSLContext", directory: str, *, with_own: bool) -> None:
    path = directory
    try:
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}"
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert") and with_own:
                context.load_cert_chain(path, f"{path.removesuffix('.cert')}.key")
    except OSError as error:
        # ssl.SSLError is an OSError too.
        raise RegistryUnreachable(
            f"load the certificate {path}: {error.strerror or error}",
            remedy="the file must be in PEM format; a *.cert needs a *.key beside it",
        ) from error

"""Signatures of images: who made them, what they say, and whether that is enough for the policy.

Two kinds: "simple signing" is a document signed with OpenPGP, which gpg(1) checks; sigstore's is a
document and beside it a signature by one key, which openssl(1) checks. Both documents say the same:
a manifest's digest, and the name under which somebody vouched for it.
containers-signature(5), containers-policy.json(5).
"""

import base64
import os
import subprocess

from storage.errors import InvalidDocument, InvalidReference, PolicyRefused, from_os_error
from storage.layout import Layout
from storage.oci.checks import as_object, get_object, get_text, parse_json
from storage.policy import GPG, Demand
from storage.record import NamedTuple
from storage.reference import Reference, parse_reference
from storage.scratch import Scratch

_TIMEOUT_S = 30.0
_CLAIM_TYPES = {
    GPG: ("atomic container signature",),
    "sigstoreSigned": ("cosign container image signature",),
}
_STATUS = "[GNUPG:] "


class Signature(NamedTuple):
    """A signature as it was found: for GPG the signed document, else the document and its proof."""

    kind: str
    data: bytes
    proof: str = ""


class Claim(NamedTuple):
    """What a signed document says."""

    manifest_digest: str
    name: str


def check_demands(
    layout: Layout,
    demands: tuple[Demand, ...],
    signatures: tuple[Signature, ...],
    manifest_digest: str,
    image: str,
    reference: Reference | None,
) -> None:
    """Return when each demand is met by one of the signatures.

    `reference` is the name of the image where it has one. Raises PolicyRefused, InvalidDocument.
    """
    for demand in demands:
        fitting = [one for one in signatures if one.kind == demand.kind]
        if not fitting:
            raise PolicyRefused(
                f"pull {image}: a signature is required ({demand.where}), and it has none",
                remedy="ask who publishes it for a signed one; for a registry see"
                " containers-registries.d(5), which says where signatures are",
            )
        reasons = []
        for signature in fitting:
            try:
                _check_one(layout, demand, signature, manifest_digest, reference)
                break
            except PolicyRefused as error:
                reasons.append(error.message)
        else:
            raise PolicyRefused(
                f"pull {image}: no signature is good enough ({demand.where}): "
                + "; ".join(dict.fromkeys(reasons)),
                remedy="do not use the image unless you know why",
            )


def _check_one(
    layout: Layout,
    demand: Demand,
    signature: Signature,
    manifest_digest: str,
    reference: Reference | None,
) -> None:
    with Scratch(layout, "verify") as scratch:
        keys = [*demand.key_paths]
        if demand.key_data:
            keys.append(f"{scratch.path}/key")
            _write(keys[-1], demand.key_data)
        if demand.kind == GPG:
            document = _check_gpg(scratch.path, keys, signature.data)
        else:
            document = _check_key(scratch.path, keys, signature)
    claim = _read_claim(document, demand.kind)
    if claim.manifest_digest != manifest_digest:
        raise PolicyRefused(f"it is for another manifest, {claim.manifest_digest[:80]}")
    if not is_identity(demand, claim.name, reference):
        raise PolicyRefused(
            f"it is for {claim.name[:200]!r}, which {demand.identity} does not accept"
        )


def _check_gpg(directory: str, keys: list[str], signature: bytes) -> bytes:
    """Return the document that one of the keys has signed. Raises PolicyRefused."""
    home = f"{directory}/gnupg"
    os.mkdir(home, 0o700)
    _write(f"{directory}/signed", signature)
    base = ["gpg", "--homedir", home, "--batch", "--no-tty", "--no-autostart", "--quiet"]
    for key in keys:
        done = _run([*base, "--import", key], "gpg")
        if done.returncode != 0:
            raise _unreadable(key, done)
    out = f"{directory}/document"
    options = ["--trust-model", "always", "--status-fd", "1", "--output", out]
    done = _run([*base, *options, "--decrypt", f"{directory}/signed"], "gpg")
    found = [
        line.removeprefix(_STATUS).split(" ")[0]
        for line in done.stdout.decode(errors="replace").splitlines()
        if line.startswith(_STATUS)
    ]
    # A key that is not the policy's, expired or revoked gives another word than GOODSIG.
    if done.returncode != 0 or found.count("VALIDSIG") != 1 or found.count("GOODSIG") != 1:
        raise PolicyRefused("its signature is not by a valid key of the policy")
    with open(out, "rb") as file:
        return file.read()


def _check_key(directory: str, keys: list[str], signature: Signature) -> bytes:
    """Return the document that one of the keys has signed. Raises PolicyRefused."""
    try:
        _write(f"{directory}/proof", base64.b64decode(signature.proof, validate=True))
    except ValueError as error:
        raise PolicyRefused("its signature is not base64") from error
    _write(f"{directory}/document", signature.data)
    for key in keys:
        check = _run(["openssl", "pkey", "-pubin", "-in", key, "-noout"], "openssl")
        if check.returncode != 0:
            raise _unreadable(key, check)
        done = _run(
            ["openssl", "dgst", "-sha256", "-verify", key, "-signature", f"{directory}/proof",
             f"{directory}/document"],
            "openssl",
        )  # fmt: skip
        if done.returncode == 0:
            return signature.data
    raise PolicyRefused("its signature is not by a key of the policy")


def _run(command: list[str], package: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise InvalidDocument(
            f"verify a signature: {command[0]} is not installed, and the policy wants it",
            remedy=f"install it: apt-get install {'gnupg' if package == 'gpg' else package}",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PolicyRefused(f"{command[0]} does not end") from error


def _unreadable(key: str, done: "subprocess.CompletedProcess[bytes]") -> InvalidDocument:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return InvalidDocument(
        f"verify a signature: the key {key} cannot be read: {said[-1] if said else 'no reason'}",
        remedy="correct the policy",
    )


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def _read_claim(data: bytes, kind: str) -> Claim:
    """Read a signed document: containers-signature(5), "JSON Data". Raises PolicyRefused."""
    try:
        critical = get_object(as_object(parse_json(data, "signature"), "signature"), "critical", "")
        image = get_object(critical, "image", "critical")
        identity = get_object(critical, "identity", "critical")
        claim = Claim(
            get_text(image, "docker-manifest-digest", "image"),
            get_text(identity, "docker-reference", "identity"),
        )
        is_ours = get_text(critical, "type", "critical") in _CLAIM_TYPES[kind]
    except InvalidDocument as error:
        raise PolicyRefused(
            f"what is signed is no claim about an image: {error.message}"
        ) from error
    members = critical.keys() == {"type", "image", "identity"}
    if not (is_ours and members and claim.manifest_digest and claim.name):
        raise PolicyRefused("what is signed is no claim about an image")
    return claim


def is_identity(demand: Demand, signed: str, reference: Reference | None) -> bool:
    """Tell whether the name in a signature is one that the policy accepts for an image."""
    try:
        claimed = parse_reference(signed)
        if demand.identity == "exactReference":
            return _has_tag(signed) and parse_reference(demand.identity_values[0]) == claimed
        if demand.identity == "exactRepository":
            return parse_reference(demand.identity_values[0]).name == claimed.name
    except InvalidReference:
        return False
    if reference is None:
        return False
    if demand.identity == "matchRepository":
        return claimed.name == reference.name
    if demand.identity == "remapIdentity":
        reference = _remapped(reference, *demand.identity_values)
    if reference.digest is not None and demand.identity != "matchExact":
        return claimed.name == reference.name
    return _has_tag(signed) and claimed == reference


def _has_tag(text: str) -> bool:
    return ":" in text.rpartition("/")[2] or "@" in text


def _remapped(reference: Reference, prefix: str, signed_prefix: str) -> Reference:
    name = reference.name
    if name != prefix and not name.startswith(f"{prefix}/"):
        return reference
    moved = parse_reference(f"{signed_prefix}{name[len(prefix) :]}")
    return moved._replace(tag=reference.tag, digest=reference.digest)

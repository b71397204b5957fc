"""Pulls from Debian's docker-registry."""

import base64
import glob
import json
import os

import pytest

from storage.errors import DigestMismatch, NoMatchingPlatform, RegistryDenied, RegistryUnreachable
from storage.owners import Owner, recorded
from storage.registry.options import Credentials
from tests.conftest import InAccount
from tests.kernel.registry.pulling import (
    QUICK,
    files_of,
    layout_of,
    left_over,
    partials,
    pull,
)
from tests.registries import PASSWORD, USER, DockerRegistry, TokenServer
from tests.support.accounts import Account, temporary_directory
from tests.support.images import File, directory, tar
from tests.support.oci import Image, make_image, make_index, sha256

_ALICE = QUICK._replace(credentials=Credentials(USER, PASSWORD))


def _layers(text: str = "") -> list[bytes]:
    """Return two small layers; `text` makes them unlike those of other tests."""
    first = [directory("etc"), File("etc/one", f"one {text}".encode())]
    return [tar(first), tar([File("etc/two", f"two {text}".encode() * 1000)])]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_pull_unpacks_every_layer(
    compression: str, plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push(f"c/{compression}", make_image(_layers(), compression=compression))

    def body() -> tuple[list[str], dict[str, bytes], list[str]]:
        outcome = pull(account_dir, name)
        files = dict(files_of(account_dir, outcome.image))
        return list(outcome.image.names), files, os.listdir(layout_of(account_dir).tmp_dir)

    names, files, in_tmp = in_account(body)
    assert names == [name]
    assert files == {"etc/one": b"one ", "etc/two": b"two " * 1000}
    assert in_tmp == []


def test_pull_keeps_docker_manifests_as_they_are(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image(_layers("docker"), docker=True)
    name = plain_registry.push("docker/schema2", image)
    outcome = in_account(lambda: pull(account_dir, name))
    assert outcome.image.manifest_digest == image.digest
    assert outcome.image.media_type == image.media_type


def test_pull_by_digest_needs_no_tag(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image(_layers("digest"))
    plain_registry.push("by/digest", image, tag="other")
    name = f"{plain_registry.host}/by/digest@{image.digest}"
    assert in_account(lambda: pull(account_dir, name)).image.names == (name,)


def test_pull_again_costs_one_request(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("again/one", make_image(_layers("again")))
    in_account(lambda: pull(account_dir, name))
    before = len(plain_registry.requests())
    outcome = in_account(lambda: pull(account_dir, name))
    assert outcome.image.names == (name,)
    assert plain_registry.requests(before) == [("HEAD", "/v2/again/one/manifests/latest", 200)]


def test_pull_of_an_index_again_costs_one_request(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    index = make_index({"linux/amd64": make_image(_layers("idx"), architecture="amd64")})
    name = plain_registry.push("again/index", index)
    in_account(lambda: pull(account_dir, name, platform="linux/amd64"))
    before = len(plain_registry.requests())
    in_account(lambda: pull(account_dir, name, platform="linux/amd64"))
    assert plain_registry.requests(before) == [("HEAD", "/v2/again/index/manifests/latest", 200)]


def test_pull_of_a_digest_that_is_there_asks_nobody(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image(_layers("local"))
    plain_registry.push("again/digest", image)
    name = f"{plain_registry.host}/again/digest@{image.digest}"
    in_account(lambda: pull(account_dir, name))
    before = len(plain_registry.requests())
    assert in_account(lambda: pull(account_dir, name)).image.names == (name,)
    assert plain_registry.requests(before) == []


def test_pull_takes_a_moved_tag_and_keeps_shared_layers(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    base, top = _layers("moved")
    first = make_image([base, top])
    second = make_image([base, tar([File("etc/three", b"three")])])
    name = plain_registry.push("moved/tag", first)
    in_account(lambda: pull(account_dir, name))
    plain_registry.push("moved/tag", second)
    outcome = in_account(lambda: pull(account_dir, name))
    assert outcome.image.manifest_digest == second.digest
    assert outcome.kinds(second.layers[0]) == ["blob-exists"]
    assert outcome.kinds(second.layers[1]) == ["blob-start", "blob-done", "unpack-done"]


def test_a_layer_that_is_not_what_its_configuration_promises_is_refused(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    honest = make_image([tar([File("etc/one", b"promised")])])
    promise = {
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar([File("etc/one", b"promised")]))]}
    }
    lie = make_image([tar([File("etc/one", b"delivered")])], config=promise)
    names = [plain_registry.push(f"lie/{number}", one) for number, one in enumerate((honest, lie))]
    assert in_account(lambda: pull(account_dir, names[0])).error is None
    # The promised layer is there, so nothing would have to be unpacked.
    outcome = in_account(lambda: pull(account_dir, names[1]))
    assert isinstance(outcome.error, DigestMismatch)


def test_a_layer_that_occurs_twice_is_fetched_once(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    layer = tar([File("twice", b"twice")])
    image = make_image([layer, tar([File("between", b"")]), layer])
    name = plain_registry.push("twice/twice", image)
    before = len(plain_registry.requests())
    outcome = in_account(lambda: pull(account_dir, name))
    paths = [path for _, path, _ in plain_registry.requests(before)]
    assert paths.count(f"/v2/twice/twice/blobs/{image.layers[0]}") == 1
    assert len(set(outcome.image.chain_ids)) == 3


def test_a_hard_link_into_a_lower_layer_has_its_content(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    lower = tar([directory("bin"), File("bin/tool", b"tool" * 999, mode=0o755)])
    upper = tar([File("bin/link", kind=b"1", link="bin/tool")])
    name = plain_registry.push("links/across", make_image([lower, upper]))

    def body() -> dict[str, bytes]:
        return dict(files_of(account_dir, pull(account_dir, name).image))

    assert in_account(body)["bin/link"] == b"tool" * 999


def _two_platforms() -> Image:
    return make_index(
        {
            "linux/amd64": make_image(_layers("amd"), architecture="amd64"),
            "linux/arm64/v8": make_image(_layers("arm"), architecture="arm64", variant="v8"),
            "unknown/unknown": make_image(_layers("attestation")),
        }
    )


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_an_index_gives_the_image_of_the_platform(
    platform: str, plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("multi/platform", _two_platforms())
    outcome = in_account(lambda: pull(account_dir, name, platform=platform))
    assert f"linux/{outcome.image.architecture}" == platform


def test_an_index_without_the_platform_names_those_it_has(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("multi/platform", _two_platforms())
    outcome = in_account(lambda: pull(account_dir, name, platform="linux/s390x"))
    assert isinstance(outcome.error, NoMatchingPlatform)
    assert "there is: linux/amd64, linux/arm64" in outcome.error.message
    assert left_over(account_dir) == []


def test_an_image_for_another_platform_is_pulled_with_a_note(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("multi/single", make_image(_layers("s"), architecture="s390x"))
    outcome = in_account(lambda: pull(account_dir, name, platform="linux/amd64"))
    assert outcome.image.architecture == "s390x"
    assert outcome.texts("note") == [f"{name} is for linux/s390x, not for linux/amd64"]


def test_tls_with_an_authority_of_its_own(
    tls_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = tls_registry.push("tls/image", make_image(_layers("tls")))
    options = QUICK._replace(ca_dir=tls_registry.ca_dir)
    assert in_account(lambda: pull(account_dir, name, options)).image.names == (name,)


def test_tls_with_certs_d_of_the_user(
    tls_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = tls_registry.push("tls/image", make_image(_layers("tls")))

    def body() -> tuple[str, ...]:
        os.environ["XDG_CONFIG_HOME"] = f"{account_dir}/config"
        place = f"{account_dir}/config/containers/certs.d/{tls_registry.host}"
        os.makedirs(os.path.dirname(place))
        os.symlink(str(tls_registry.ca_dir), place)
        return pull(f"{account_dir}/store", name).image.names

    assert in_account(body) == (name,)


def test_tls_of_an_unknown_authority_is_refused_with_the_way_out(
    tls_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = tls_registry.push("tls/image", make_image(_layers("tls")))
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, RegistryUnreachable)
    assert f"the certificate of {tls_registry.host} is not trusted" in error.message
    assert "--cert-dir" in error.remedy
    assert left_over(account_dir) == []


def test_tls_is_not_verified_when_that_is_asked_for(
    tls_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = tls_registry.push("tls/image", make_image(_layers("tls")))
    options = QUICK._replace(tls_verify=False)
    assert in_account(lambda: pull(account_dir, name, options)).image.names == (name,)


def test_plain_http_is_refused_when_tls_is_asked_for(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("plain/image", make_image(_layers("plain")))
    options = QUICK._replace(tls_verify=True)
    error = in_account(lambda: pull(account_dir, name, options)).error
    assert error is not None
    assert error.message.endswith(f"{plain_registry.host} does not speak TLS")
    assert "--tls-verify=false" in error.remedy


def test_basic_with_the_right_password(
    basic_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = basic_registry.push("private/image", make_image(_layers("basic")))
    assert in_account(lambda: pull(account_dir, name, _ALICE)).image.names == (name,)


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        pytest.param(None, "asks for user and password", id="none"),
        pytest.param(Credentials(USER, "wrong"), "does not accept the credentials", id="wrong"),
    ],
)
def test_basic_without_the_right_password(
    credentials: Credentials | None,
    said: str,
    basic_registry: DockerRegistry,
    in_account: InAccount,
    account_dir: str,
) -> None:
    name = basic_registry.push("private/image", make_image(_layers("basic")))
    options = QUICK._replace(credentials=credentials)
    error = in_account(lambda: pull(account_dir, name, options)).error
    assert isinstance(error, RegistryDenied)
    assert said in error.message
    assert "--creds" in error.remedy
    assert left_over(account_dir) == []


def test_basic_with_an_authfile(
    basic_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = basic_registry.push("private/image", make_image(_layers("basic")))
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auths = {"auths": {f"{basic_registry.host}/private": {"auth": encoded}}}

    def body() -> tuple[str, ...]:
        path = f"{account_dir}/auth.json"
        with open(path, "w", encoding="ascii") as out:
            json.dump(auths, out)
        options = QUICK._replace(authfile=path)
        return pull(f"{account_dir}/store", name, options).image.names

    assert in_account(body) == (name,)


def test_an_anonymous_token_pulls_a_public_repository(
    token_registry: DockerRegistry,
    tokens: TokenServer,
    in_account: InAccount,
    account_dir: str,
) -> None:
    name = token_registry.push("public/image", make_image(_layers("token")))
    before = len(tokens.given)
    assert in_account(lambda: pull(account_dir, name)).image.names == (name,)
    assert tokens.given[before:] == [("", "repository:public/image:pull")]


def test_an_anonymous_token_does_not_pull_a_private_repository(
    token_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = token_registry.push("private/image", make_image(_layers("token")))
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, RegistryDenied)
    assert "it refuses the token" in error.message
    assert left_over(account_dir) == []


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(Credentials(USER, PASSWORD), id="password"),
        pytest.param(Credentials("", "", TokenServer.identity_token), id="identity-token"),
    ],
)
def test_a_token_for_alice_pulls_a_private_repository(
    credentials: Credentials,
    token_registry: DockerRegistry,
    in_account: InAccount,
    account_dir: str,
) -> None:
    name = token_registry.push("private/image", make_image(_layers("token")))
    options = QUICK._replace(credentials=credentials)
    assert in_account(lambda: pull(account_dir, name, options)).image.names == (name,)


def test_a_wrong_password_is_refused_by_the_token_server(
    token_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = token_registry.push("private/image", make_image(_layers("token")))
    options = QUICK._replace(credentials=Credentials(USER, "wrong"))
    error = in_account(lambda: pull(account_dir, name, options)).error
    assert isinstance(error, RegistryDenied)
    assert "the token server says: incorrect username or password" in error.message


def test_a_pull_leaves_no_partial_blobs(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("clean/image", make_image(_layers("clean")))
    in_account(lambda: pull(account_dir, name))
    assert partials(account_dir) == {}


def test_an_account_without_subordinate_ids_records_owners(
    plain_registry: DockerRegistry, in_account: InAccount, account_without_ids: Account
) -> None:
    layer = tar([File("of-alice", b"a", uid=1000, gid=1000), File("of-root", b"r")])
    name = plain_registry.push("single/id", make_image([layer]))

    def body(store: str) -> tuple[dict[str, bytes], list[str], list[Owner | None]]:
        outcome = pull(store, name)
        (layer_directory,) = glob.glob(f"{store}/layers/*/*/diff")
        owners = [recorded(f"{layer_directory}/{one}") for one in ("of-alice", "of-root")]
        return dict(files_of(store, outcome.image)), outcome.texts("note"), owners

    with temporary_directory(account_without_ids) as store:
        files, notes, owners = in_account(lambda: body(store), account=account_without_ids)
    assert files == {"of-alice": b"a", "of-root": b"r"}
    assert notes == []
    assert owners == [Owner(1000, 1000), None]


def test_owners_are_those_of_the_subordinate_ids(
    plain_registry: DockerRegistry, in_account: InAccount, account: Account, account_dir: str
) -> None:
    layer = tar([File("of-alice", b"a", uid=1000, gid=50), File("of-root", b"r")])
    name = plain_registry.push("owners/many", make_image([layer]))

    def body() -> dict[str, tuple[int, int]]:
        image = pull(account_dir, name).image
        layout = layout_of(account_dir)
        (key,) = os.listdir(layout.all_layers_dir)
        top = layout.layer_diff(key, image.chain_ids[0])
        found = {entry.name: entry.stat() for entry in os.scandir(top)}
        return {entry: (stat.st_uid, stat.st_gid) for entry, stat in found.items()}

    first_uid = account.subordinate[0][0]
    owners = in_account(body)
    assert owners["of-root"] == (account.uid, account.gid)
    # 0 is the account itself, so container id 1 is the first subordinate id.
    assert owners["of-alice"][0] == first_uid + 999

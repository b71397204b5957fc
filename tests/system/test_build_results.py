"""`build`: names, files, formats, squashed layers, lists, and the same digest on two accounts."""

import json
import os
import shutil
import tarfile
from collections.abc import Iterator

import pytest

from tests.registries import PASSWORD, USER, docker_registry, missing
from tests.support.accounts import Account, temporary_directory
from tests.support.command import Command, Done, is_podman
from tests.support.registry import Registry, free_port
from tests.system.conftest import check_nothing_left, clean, make_command, traces

SOURCE = """FROM BASE
RUN echo 1 >/one && mkdir /d && echo x >/d/x
RUN rm /d/x && echo 2 >/d/two
COPY file /srv/
LABEL made=here
CMD ["cat", "/one"]
"""


def make_context(top: str, source: str, account: Account, modified_s: int = 1_700_000_000) -> str:
    path = f"{top}/context"
    os.makedirs(path, exist_ok=True)
    for name, text in (("Containerfile", source), ("file", "text")):
        with open(f"{path}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{path}/{name}", 0o644)
        os.chown(f"{path}/{name}", account.uid, account.gid)
        os.utime(f"{path}/{name}", (modified_s, modified_s))
    os.chmod(path, 0o755)
    os.chown(path, account.uid, account.gid)
    return path


@pytest.fixture
def context(rpod: Command, image: str, account_dir: str) -> str:
    return make_context(account_dir, SOURCE.replace("BASE", image), rpod.account)


def inspect(rpod: Command, name: str) -> dict[str, object]:
    found = json.loads(rpod("image", "inspect", name).out)[0]
    assert isinstance(found, dict)
    return found


def layers(rpod: Command, name: str) -> list[str]:
    fields = inspect(rpod, name)["RootFS"]
    assert isinstance(fields, dict)
    return list(fields["Layers"])


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_names_and_id_files(rpod: Command, context: str, account_dir: str) -> None:
    iid = f"{account_dir}/iid"
    done = rpod("build", "-t", "one", "-t", "example.org/two:3", "--iidfile", iid, context)
    assert text_of(iid) == f"sha256:{done.lines[-1]}"
    assert inspect(rpod, "example.org/two:3")["Id"] == inspect(rpod, "one")["Id"]
    assert rpod("build", "-q", context).lines == [done.lines[-1]]


@pytest.mark.rpod_only
def test_metadata_file(rpod: Command, context: str, account_dir: str) -> None:
    rpod("build", "-t", "one", "--metadata-file", f"{account_dir}/m", context)
    found = json.loads(text_of(f"{account_dir}/m"))
    assert found["containerimage.digest"] == inspect(rpod, "one")["Digest"]
    assert found["containerimage.config.digest"] == f"sha256:{inspect(rpod, 'one')['Id']}"
    assert found["image.name"] == "localhost/one:latest"


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("oci", "application/vnd.oci.image.manifest.v1+json"),
        ("docker", "application/vnd.docker.distribution.manifest.v2+json"),
    ],
)
def test_format(rpod: Command, context: str, form: str, kind: str) -> None:
    rpod("build", "-t", "one", "--format", form, "--annotation", "a=b", context)
    found = inspect(rpod, "one")
    assert found["ManifestType"] == kind
    assert found["Labels"] == {"made": "here", "made.for": "tests"} or "here" in str(found)


@pytest.mark.parametrize(
    ("option", "count"),
    [("--layers", 4), ("--squash", 2), ("--squash-all", 1), ("--layers=false", 2)],
)
def test_layers_of_the_result(rpod: Command, context: str, option: str, count: int) -> None:
    rpod("build", "-t", "one", option, context)
    assert len(layers(rpod, "one")) == count
    done = rpod("run", "--rm", "one", "sh", "-c", "cat /one /d/two /srv/file; ls /d; ls -d /tmp")
    assert done.lines == ["1", "2", "texttwo", "/tmp"]
    # podman forgets the history of the base image when everything becomes one layer.
    assert len(rpod("history", "-q", "one").lines) == (5 if is_podman() and count == 1 else 6)


def test_squash_hides_what_later_layers_removed(
    rpod: Command, image: str, account_dir: str
) -> None:
    source = f"""FROM {image}
RUN rm -r /home/alice && mkdir /home/alice && echo new >/home/alice/new
RUN rm /etc/group && rm -r /srv && echo file >/srv && rm /bin/yes
"""
    where = make_context(account_dir, source, rpod.account)
    rpod("build", "-t", "one", "--squash", where)
    done = rpod(
        "run",
        "--rm",
        "one",
        "sh",
        "-c",
        "ls /home/alice; cat /srv; ls /bin/yes /etc/group",
        check=False,
    )
    assert done.lines == ["new", "file"]
    assert "No such file" in done.err


# --output.


def test_output_local(rpod: Command, context: str, account_dir: str) -> None:
    rpod("build", "-o", f"{account_dir}/tree", context)
    assert text_of(f"{account_dir}/tree/srv/file") == "text"
    assert sorted(os.listdir(f"{account_dir}/tree/d")) == ["two"]
    found = os.stat(f"{account_dir}/tree/home/alice/notes")
    assert found.st_uid == rpod.account.uid


@pytest.mark.rpod_only  # podman mixes its own lines into the archive
def test_output_tar_on_standard_output(rpod: Command, context: str, account_dir: str) -> None:
    done = rpod("build", "-o", "-", context)
    with open(f"{account_dir}/o.tar", "wb") as file:
        file.write(done.out_bytes)
    with tarfile.open(f"{account_dir}/o.tar") as archive:
        assert "srv/file" in [name.removeprefix("./") for name in archive.getnames()]


@pytest.mark.rpod_only
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_output_archive(rpod: Command, context: str, account_dir: str, kind: str) -> None:
    path = f"{account_dir}/image.tar"
    rpod("build", "-t", "one", "-o", f"type={kind},dest={path}", context)
    digest = inspect(rpod, "one")["Id"]
    rpod("rmi", "one")
    rpod("load", "-i", path)
    assert inspect(rpod, "one")["Id"] == digest
    archive = rpod("build", "-t", "one", "-o", f"type={kind},dest=-", context).out_bytes
    rpod("load", input=archive)


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "text", ["type=nope", "type=local", "type=tar", "type=oci,dest=x,other=1", "type=local,x"]
)
def test_malformed_output_is_refused_before_the_build(
    rpod: Command, context: str, text: str
) -> None:
    done = rpod("build", "-o", text, context, check=False)
    assert done.code == 125
    assert "STEP" not in done.out


# Several platforms.


@pytest.mark.rpod_only
def test_several_platforms_make_a_list(rpod: Command, account_dir: str) -> None:
    where = make_context(account_dir, "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n",
                         rpod.account)  # fmt: skip
    for _ in range(2):
        rpod("build", "--platform=linux/amd64,linux/arm64/v8", "--manifest", "several", where)
        entries = json.loads(rpod("manifest", "inspect", "several").out)["manifests"]
        assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    rpod("build", "--platform=linux/amd64,linux/arm64", "-o", f"{account_dir}/out", where)
    assert os.listdir(f"{account_dir}/out/linux_arm64") == ["arm64"]
    rpod("manifest", "rm", "several")


# The same digest.


@pytest.fixture
def other(account_without_ids: Account, docker_archive: str) -> Iterator[Command]:
    """Another account, with another store and even with a single id."""
    command = make_command(account_without_ids, account_without_ids.environment())
    before = traces(account_without_ids)
    command("load", "--input", docker_archive)
    yield command
    clean(command)
    command("system", "prune", "--all", "--force", "--build", check=False)
    command("rmi", "--all", "--force", check=False)
    check_nothing_left(command, before)


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "options",
    [("--timestamp", "1000000000"), ("--source-date-epoch", "1600000000")],
    ids=["timestamp", "epoch"],
)
def test_two_accounts_make_the_same_image(
    rpod: Command, other: Command, image: str, context: str, options: tuple[str, ...]
) -> None:
    rpod("build", "-t", "same", *options, context)
    with temporary_directory(other.account) as top:
        where = make_context(top, SOURCE.replace("BASE", image), other.account, 1_777_777_777)
        other("build", "-t", "same", "--jobs", "1", *options, where)
    assert inspect(other, "same")["Digest"] == inspect(rpod, "same")["Digest"]
    found = inspect(rpod, "same")
    moment = "2001-09-09T01:46:40" if "--timestamp" in options else "2020-09-13T12:26:40"
    assert str(found["Created"]).startswith(moment)


@pytest.mark.rpod_only
def test_source_date_epoch_of_the_environment(rpod: Command, context: str) -> None:
    digests = set()
    for _ in range(2):
        rpod("build", "--no-cache", "-t", "same", context, env={"SOURCE_DATE_EPOCH": "1500000000"})
        digests.add(inspect(rpod, "same")["Digest"])
    assert len(digests) == 1
    done = rpod("build", context, env={"SOURCE_DATE_EPOCH": "soon"}, check=False)
    assert done.code == 125


@pytest.mark.rpod_only
def test_cached_build_is_the_same_image(rpod: Command, context: str) -> None:
    first = rpod("build", context).lines[-1]
    again = rpod("build", context)
    assert again.lines[-1] == first
    assert sum(line.startswith("--> Using cache") for line in again.lines) == 3


# The cache in a registry.


@pytest.mark.rpod_only
def test_cache_in_a_registry(
    rpod: Command, fresh_rpod: Command, registry: Registry, docker_archive: str, context: str
) -> None:
    repository = f"{registry.host}/cache/of"
    fresh_rpod("load", "--input", docker_archive)
    rpod("build", "-t", "one", "--cache-to", repository, context)
    if os.getuid() == 0:
        assert fresh_rpod.environment["HOME"] != rpod.environment["HOME"]
    done = fresh_rpod("build", "-t", "one", "--cache-from", repository, context)
    assert sum(line.startswith("--> Using cache") for line in done.lines) == 3
    assert inspect(fresh_rpod, "one")["Digest"] == inspect(rpod, "one")["Digest"]
    assert fresh_rpod("run", "--rm", "one", "cat", "/srv/file").out == "text"
    done = fresh_rpod("build", "--no-cache", "--cache-from", repository, context)
    assert "Using cache" not in done.out


@pytest.mark.rpod_only
def test_cache_that_cannot_be_had_is_a_miss(
    rpod: Command, registry: Registry, context: str
) -> None:
    for repository in (f"{registry.host}/no/such", f"127.0.0.1:{free_port()}/x"):
        rpod("build", "--cache-from", repository, "--retry", "0", context)
    done = rpod(
        "build", "--cache-to", f"127.0.0.1:{free_port()}/x", "--retry", "0", context, check=False
    )
    assert done.code == 125
    done = rpod("build", "--cache-from", "example.org/x:tag", context, check=False)
    assert "without a tag" in done.err


@pytest.mark.rpod_only
def test_output_to_a_registry(rpod: Command, registry: Registry, context: str) -> None:
    name = f"{registry.host}/pushed:1"
    rpod("build", "-o", f"type=registry,name={name}", context)
    digest = inspect(rpod, name)["Digest"]
    rpod("rmi", name)
    rpod("pull", name)
    assert inspect(rpod, name)["Digest"] == digest


@pytest.mark.rpod_only
def test_registry_with_a_password_and_a_certificate_of_its_own(
    rpod: Command, account_dir: str
) -> None:
    """--push, and FROM with --creds, --authfile, --cert-dir, --tls-verify: with and without."""
    if absent := missing("docker-registry", "htpasswd"):
        pytest.skip(f"not installed: {absent}")
    creds = f"--creds={USER}:{PASSWORD}"
    with docker_registry(tls=True, htpasswd=True) as locked:
        name = f"{locked.host}/locked:1"
        certificates = f"--cert-dir={account_dir}/certificates"
        os.mkdir(f"{account_dir}/certificates")
        shutil.copy(f"{locked.directory}/certs/ca.crt", f"{account_dir}/certificates/ca.crt")
        rpod.shell(f"chmod -R a+rX {account_dir}/certificates", check=False)

        def build(source: str, *options: str) -> Done:
            retries = ("--retry=0", "--pull=always")
            return rpod("build", *retries, *options, "-", input=source.encode(), check=False)

        source = "FROM scratch\nLABEL of=locked\n"
        assert "certificate" in build(source, "--push", f"--tag={name}", creds).err
        assert build(source, "--push", f"--tag={name}", certificates).code == 125
        rpod("build", "--push", f"--tag={name}", creds, certificates, "-", input=source.encode())
        rpod("rmi", name)
        child = f"FROM {name}\nLABEL b=1\n"
        assert "certificate" in build(child, creds).err
        assert "certificate" not in build(child, "--tls-verify=false").err
        assert build(child, certificates).code == 125
        assert build(child, f"--creds={USER}:wrong", certificates).code == 125
        assert build(child, creds, certificates).code == 0
        assert build(child, creds, "--tls-verify=false").code == 0
        login = ("login", certificates, "--username", USER, "--password-stdin")
        authfile = f"--authfile={account_dir}/auth.json"
        rpod(*login, authfile, locked.host, input=PASSWORD.encode())
        assert build(child, certificates, authfile).code == 0
        assert build(child, certificates).code == 125


@pytest.mark.rpod_only
def test_load_keeps_the_image_beside_another_output(
    rpod: Command, context: str, account_dir: str
) -> None:
    only = ("build", "-o", f"{account_dir}/out", context)
    assert rpod("image", "exists", rpod(*only).lines[-1], check=False).code != 0
    assert rpod("image", "exists", rpod(*only, "--load").lines[-1], check=False).code == 0

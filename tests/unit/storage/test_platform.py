import pytest

from storage.errors import InvalidReference, NoMatchingPlatform
from storage.oci.descriptor import OCI_MANIFEST, Descriptor, DescriptorPlatform
from storage.platform import Platform, choose_manifest, host_platform, parse_platform

_NO_FLAGS: frozenset[str] = frozenset()
_V3 = frozenset(
    (
        "cx16",
        "lahf_lm",
        "popcnt",
        "sse4_1",
        "sse4_2",
        "ssse3",
        "avx",
        "avx2",
        "bmi1",
        "bmi2",
        "f16c",
        "fma",
        "abm",
        "movbe",
    )
)


def _entry(
    platform: str | None, digit: str, annotations: dict[str, str] | None = None
) -> Descriptor:
    described = None
    if platform is not None:
        system, architecture, *variant = platform.split("/")
        described = DescriptorPlatform(system, architecture, "".join(variant))
    return Descriptor(OCI_MANIFEST, f"sha256:{digit * 64}", 100, described, annotations)


def _index(*platforms: str) -> tuple[Descriptor, ...]:
    return tuple(_entry(platform, f"{number:x}") for number, platform in enumerate(platforms))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("amd64", Platform("linux", "amd64")),
        ("aarch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/arm", Platform("linux", "arm", "v7")),
        ("linux/arm/6", Platform("linux", "arm", "v6")),
        ("arm/v6", Platform("linux", "arm", "v6")),
        ("armhf", Platform("linux", "arm", "v7")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("Windows/AMD64", Platform("windows", "amd64")),
    ],
)
def test_platform_is_read(text: str, expected: Platform) -> None:
    assert parse_platform(text) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/a/b/c", "linux/am d64", "\x1b[31m"])
def test_platform_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="OS/ARCHITECTURE"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("riscv64", "linux/riscv64"),
        ("i686", "linux/386"),
    ],
)
def test_host_platform_is_that_of_uname(machine: str, expected: str) -> None:
    assert str(host_platform(machine)) == expected


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        pytest.param("linux/amd64", ["linux/arm64", "linux/amd64"], 1, id="the-only-one"),
        pytest.param("linux/arm64", ["linux/amd64", "linux/arm64/v8"], 1, id="arm64-v8"),
        pytest.param("linux/arm64", ["linux/arm64"], 0, id="arm64-without-variant"),
        pytest.param("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1, id="arm-goes-down"),
        pytest.param("linux/arm/v7", ["linux/arm/v8", "linux/arm/v7"], 1, id="arm-not-up"),
        pytest.param("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1, id="arm-older"),
        pytest.param("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1, id="amd64-baseline"),
        pytest.param("linux/amd64", ["linux/amd64", "linux/amd64"], 0, id="first-of-equals"),
        pytest.param("linux/amd64", ["unknown/unknown", "linux/amd64"], 1, id="attestation"),
        pytest.param("windows/amd64", ["linux/amd64", "windows/amd64"], 1, id="other-system"),
    ],
)
def test_best_entry_is_chosen(wanted: str, offered: list[str], expected: int) -> None:
    index = _index(*offered)
    chosen = choose_manifest(index, parse_platform(wanted), "x", cpu_flags=_NO_FLAGS)
    assert chosen is index[expected]


def test_a_processor_gets_the_level_that_it_has() -> None:
    index = _index("linux/amd64", "linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v2")
    chosen = choose_manifest(index, parse_platform("linux/amd64"), "x", cpu_flags=_V3)
    assert chosen is index[2]


def test_zstd_is_preferred_to_gzip() -> None:
    mark = {"io.github.containers.compression.zstd": "true"}
    index = (_entry("linux/amd64", "a"), _entry("linux/amd64", "b", mark))
    assert choose_manifest(index, Platform("linux", "amd64"), "x", cpu_flags=_NO_FLAGS) is index[1]


def test_an_entry_without_platform_serves_this_host() -> None:
    index = (_entry(None, "a"),)
    assert choose_manifest(index, host_platform(), "x", cpu_flags=_NO_FLAGS) is index[0]


def test_no_entry_names_what_there_is() -> None:
    index = _index("linux/arm64", "linux/arm/v7", "unknown/unknown")
    with pytest.raises(NoMatchingPlatform) as caught:
        choose_manifest(index, Platform("linux", "s390x"), "reg.example/app:1")
    assert caught.value.message == (
        "reg.example/app:1: no image for linux/s390x; there is: linux/arm/v7, linux/arm64"
    )
    assert "--platform" in caught.value.remedy

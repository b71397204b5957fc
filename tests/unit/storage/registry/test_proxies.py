from urllib.parse import urlsplit

import pytest

from storage.errors import RegistryUnreachable
from storage.registry.hosts import is_loopback, split_host
from storage.registry.proxies import choose_proxy

_PROXIES = {"https_proxy": "http://proxy:3128", "HTTP_PROXY": "http://plain:3128"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("", False),
    ],
)
def test_loopback_is_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quay.io", ("quay.io", None)),
        ("localhost:5000", ("localhost", 5000)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::1]", ("::1", None)),
    ],
)
def test_host_is_split(text: str, expected: tuple[str, int | None]) -> None:
    assert split_host(text) == expected


@pytest.mark.parametrize("text", ["", ":5000", "host:port", "host:65536", "host:\u0661"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(RegistryUnreachable, match="is not a host"):
        split_host(text)


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        pytest.param("https://quay.io/v2/", "", "http://proxy:3128", id="https"),
        pytest.param("http://quay.io/v2/", "", "http://plain:3128", id="http-upper-case"),
        pytest.param("http://localhost:5000/", "", None, id="loopback-never"),
        pytest.param("https://127.0.0.1/", "", None, id="loopback-address-never"),
        pytest.param("https://quay.io/", "*", None, id="star"),
        pytest.param("https://quay.io/", "other.io, quay.io", None, id="host"),
        pytest.param("https://cdn.quay.io/", "quay.io", None, id="below-a-host"),
        pytest.param("https://cdn.quay.io/", ".quay.io", None, id="below-a-domain"),
        pytest.param("https://notquay.io/", "quay.io", "http://proxy:3128", id="other-host"),
        pytest.param("https://reg:5000/", "reg:5000", None, id="port"),
        pytest.param("https://reg:5001/", "reg:5000", "http://proxy:3128", id="other-port"),
        pytest.param("https://10.1.2.3/", "10.0.0.0/8", None, id="network"),
        pytest.param("https://11.1.2.3/", "10.0.0.0/8", "http://proxy:3128", id="other-network"),
        pytest.param("https://[fd00::1]/", "fd00::/8", None, id="network-of-ipv6"),
        pytest.param("https://10.1.2.3/", "10.1.2.3", None, id="address"),
        pytest.param("https://10.1.2.3/", "nonsense/99", "http://proxy:3128", id="broken-network"),
    ],
)
def test_proxy_is_chosen(url: str, no_proxy: str, expected: str | None) -> None:
    environment = {**_PROXIES, "NO_PROXY": no_proxy}
    assert choose_proxy(urlsplit(url), environment) == expected


def test_all_proxy_is_the_last_resort_and_needs_no_scheme() -> None:
    assert choose_proxy(urlsplit("https://a.io/"), {"ALL_PROXY": "p:1"}) == "http://p:1"


def test_a_proxy_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(RegistryUnreachable, match="socks5 proxies are not supported"):
        choose_proxy(urlsplit("https://a.io/"), {"all_proxy": "socks5://p:1"})

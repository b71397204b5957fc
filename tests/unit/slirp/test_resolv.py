"""/etc/resolv.conf of a container."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.errors import InvalidNetwork
from slirp.resolv import (
    DnsRequest,
    check_dns,
    host_resolv_conf,
    parse_resolv_conf,
    resolv_conf_text,
)

HOST = "# made by hand\nsearch corp.example lab.example\nnameserver 192.0.2.53\noptions ndots:2\n"


def test_forwarder_goes_before_the_hosts_servers() -> None:
    assert resolv_conf_text(DnsRequest(), HOST, forwarder="10.0.2.3") == (
        "search corp.example lab.example\n"
        "nameserver 10.0.2.3\n"
        "nameserver 192.0.2.53\n"
        "options ndots:2\n"
    )


def test_asked_servers_replace_all_others() -> None:
    request = DnsRequest(servers=("9.9.9.9",), search=("x.example",), options=("ndots:5",))
    assert resolv_conf_text(request, HOST, forwarder="10.0.2.3") == (
        "search x.example\nnameserver 9.9.9.9\noptions ndots:5\n"
    )


def test_dot_clears_the_search_list() -> None:
    assert "search" not in resolv_conf_text(DnsRequest(search=(".",)), HOST)


def test_loopback_servers_are_dropped() -> None:
    host = "nameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n"
    assert resolv_conf_text(DnsRequest(), host) == "nameserver 192.0.2.1\n"


def test_loopback_servers_stay_with_the_hosts_network() -> None:
    host = "nameserver 127.0.0.53\n"
    assert resolv_conf_text(DnsRequest(), host, keep_loopback=True) == host


def test_zoned_servers_are_dropped() -> None:
    host = "nameserver fe80::1%eth0\nnameserver 192.0.2.1\n"
    assert resolv_conf_text(DnsRequest(), host) == "nameserver 192.0.2.1\n"


def test_ipv6_servers_are_dropped_without_ipv6() -> None:
    host = "nameserver 2001:db8::1\nnameserver 192.0.2.1\n"
    assert resolv_conf_text(DnsRequest(), host, ipv6=False) == "nameserver 192.0.2.1\n"


def test_stub_of_systemd_resolved_is_replaced(tmp_path: Path) -> None:
    stub, upstream = tmp_path / "stub", tmp_path / "upstream"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    upstream.write_text("nameserver 192.0.2.9\n")
    assert host_resolv_conf(str(stub), str(upstream)) == "nameserver 192.0.2.9\n"


def test_stub_without_upstream_stays(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text("nameserver 127.0.0.53\n")
    assert host_resolv_conf(str(stub), str(tmp_path / "none")) == "nameserver 127.0.0.53\n"


def test_missing_file_gives_only_the_forwarder(tmp_path: Path) -> None:
    text = host_resolv_conf(str(tmp_path / "none"))
    assert resolv_conf_text(DnsRequest(), text, forwarder="10.0.2.3") == "nameserver 10.0.2.3\n"


def test_last_search_or_domain_counts() -> None:
    assert parse_resolv_conf("search a b\ndomain c\n").search == ("c",)


@given(st.text(max_size=300))
def test_any_host_file_gives_lines_of_known_kinds(text: str) -> None:
    result = resolv_conf_text(DnsRequest(), text, forwarder="10.0.2.3")
    for line in result.split("\n")[:-1]:
        assert line.split(" ")[0] in ("search", "nameserver", "options")
    assert "nameserver 10.0.2.3" in result.split("\n")


@pytest.mark.parametrize(
    "request_",
    [
        DnsRequest(servers=("example.com",)),
        DnsRequest(servers=("none", "1.1.1.1")),
        DnsRequest(servers=("none",), search=("x",)),
        DnsRequest(search=("a b",)),
        DnsRequest(options=("ndots:1\nnameserver 6.6.6.6",)),
    ],
    ids=["name", "none-and-more", "none-with-search", "two-words", "two-lines"],
)
def test_dns_refuses(request_: DnsRequest) -> None:
    with pytest.raises(InvalidNetwork):
        check_dns(request_)


def test_dns_none_keeps_the_images_file() -> None:
    assert check_dns(DnsRequest(servers=("none",))).keeps_image_file

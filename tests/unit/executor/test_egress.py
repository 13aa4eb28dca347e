"""Which addresses http steps may reach, in every disguise that an address can wear."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network

import pytest

from taskforge.executor.web.egress import EgressPolicy


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "10.1.2.3", "192.168.0.10", "172.16.5.5", "100.64.0.1", "8.8.8.8", "::1", "fd12:3456::1",
     "2606:4700::1111", "::ffff:10.0.0.1", "64:ff9b::808:808", "2002:0808:0808::1"],
)  # fmt: skip
def test_public_private_and_loopback_addresses_are_reached(address: str) -> None:
    assert EgressPolicy().refusal(address) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1",
     "100.100.100.200", "168.63.129.16", "192.0.0.192", "::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254",
     "fd20:ce::254", "64:ff9b:1::1"],
)  # fmt: skip
def test_metadata_link_local_and_nobodys_addresses_are_refused(address: str) -> None:
    assert "the egress policy refuses" in str(EgressPolicy().refusal(address))


@pytest.mark.parametrize(
    "address",
    ["::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "2002:a9fe:a9fe:1::5",
     "::169.254.169.254", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
)  # fmt: skip
def test_an_embedded_address_is_judged_as_what_it_leads_to(address: str) -> None:
    assert EgressPolicy().refusal(address) is not None


def test_the_refusal_names_the_address_and_what_it_leads_to() -> None:
    reason = EgressPolicy().refusal("64:ff9b::a9fe:a9fe")
    assert reason is not None
    assert "64:ff9b::a9fe:a9fe, which leads to 169.254.169.254" in reason


def test_the_most_specific_rule_wins() -> None:
    policy = EgressPolicy(
        allow=[ip_network("10.1.0.0/16"), ip_network("169.254.169.254/32")],
        deny=[ip_network("0.0.0.0/0"), ip_network("10.1.9.0/24")],
    )
    assert policy.refusal("10.1.2.3") is None
    assert policy.refusal("10.1.9.3") == "the egress policy refuses 10.1.9.3 (the operator denies 10.1.9.0/24)"
    assert policy.refusal("8.8.8.8") is not None
    assert policy.refusal("169.254.169.254") is None
    assert policy.refusal("169.254.169.253") is not None
    assert policy.refusal("::1") is None


def test_a_wide_allowance_opens_no_built_in_refusal() -> None:
    assert EgressPolicy(allow=[ip_network("0.0.0.0/0")]).refusal("169.254.169.254") is not None


def test_between_equals_the_one_that_denies_wins() -> None:
    network = ip_network("10.0.0.0/8")
    assert EgressPolicy(allow=[network], deny=[network]).refusal("10.0.0.1") is not None


def test_sockets_are_made_for_allowed_addresses_only() -> None:
    policy = EgressPolicy()
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    policy.make_socket((*kind, ("127.0.0.1", 80))).close()
    with pytest.raises(OSError, match="link-local") as refused:
        policy.make_socket((*kind, ("169.254.169.254", 80)))
    assert refused.value.errno == errno.EPERM

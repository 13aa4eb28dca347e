"""What TASKFORGE_REDIS_URL may say."""

from __future__ import annotations

import pytest

from taskforge.bus.address import Servers, is_bus_url


@pytest.mark.parametrize(
    "url",
    [
        "none",
        "redis://redis:6379/0",
        "redis://redis",
        "rediss://user:word@redis:6379",
        "unix:///run/valkey.sock",
        "redis+cluster://a:7000,b:7000,c:7000",
        "redis+cluster://user:w,rd@a:7000,b:7000/0?socket_keepalive=true",
        "rediss+cluster://a:7000,[::1]:7001/?ssl_check_hostname=false",
    ],
)
def test_urls_that_are_understood(url: str) -> None:
    assert is_bus_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://redis:6379",
        "redis:/redis:6379",
        "redis://",
        "unix://",
        "redis://redis:port",
        "redis://redis:6379?no_such_option=1",
        "redis+cluster://",
        "redis+cluster://a:7000,",
        "redis+cluster://a:7000,b:port",
        "redis+cluster://a:7000/1",  # a cluster has one database
        "unix+cluster:///run/valkey.sock",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    assert not is_bus_url(url)


def test_each_server_of_a_cluster_has_the_login_and_the_options_of_all() -> None:
    servers = Servers.parse("rediss+cluster://user:word@a:7000,b:7001/?ssl_check_hostname=false")
    options = "/?ssl_check_hostname=false"
    assert servers.urls == (f"rediss://user:word@a:7000{options}", f"rediss://user:word@b:7001{options}")
    assert servers.url_of("c", 7002) == f"rediss://user:word@c:7002{options}"
    assert servers.url_of("fd00::1", 7002) == f"rediss://user:word@[fd00::1]:7002{options}"


def test_a_server_alone_may_turn_out_to_be_one_of_many() -> None:
    assert Servers.parse("redis://user:word@a:7000/0").url_of("b", 7001) == "redis://user:word@b:7001/0"
    assert Servers.parse("unix:///run/valkey.sock").url_of("b", 7001) == "redis://b:7001"

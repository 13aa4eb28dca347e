"""A peer that vanishes without a word: its clients leave the connection, whether they were talking or not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskforge.domain.errors import Unavailable
from taskforge.runtime.client import Peer
from taskforge.runtime.server import Server
from tests.chaos.parts.proxy import fault_proxy
from tests.support.waiting import eventually

_CALL_SECONDS = 1.0
#: Two pings and their patience; and then some, on a busy machine.
_LEFT_WITHIN_SECONDS = 18.0


def _nobody_asks(_: str, __: Any) -> str:
    return "nobody"


@pytest.mark.parametrize("quiet", [0.0, 17.0], ids=["talking", "quiet"])
async def test_a_peer_that_vanished_is_left(folder: Path, quiet: float) -> None:
    server = Server(f"unix:{folder}/server.sock", _nobody_asks)
    await server.start()
    await server.set_ready(True)
    with fault_proxy() as proxy:
        link = proxy.open("link", listen=f"unix:{folder}/link.sock", upstream=f"unix:{folder}/server.sock")
        peer = Peer(link.address, "token", unavailable_reason="AWAY")
        stub = health_pb2_grpc.HealthStub(peer.channel)

        async def ask() -> None:
            try:
                await peer.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=_CALL_SECONDS)
            except Unavailable as error:
                raise AssertionError(error.message) from error

        await eventually(ask)
        calm = time.monotonic() + quiet
        await eventually(lambda: _is_later_than(calm), within=quiet + 5)
        link.strand()
        await eventually(ask, within=_LEFT_WITHIN_SECONDS)
        await peer.close()
    await server.stop(0)


def _is_later_than(moment: float) -> None:
    assert time.monotonic() >= moment, "not yet"

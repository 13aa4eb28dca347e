"""Unit tests open no sockets: whatever needs one belongs to another layer."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest


def forbid_sockets(patch: pytest.MonkeyPatch) -> None:
    """Make connecting and binding fail. The socket pair inside an event loop does neither."""

    def refuse(self: socket.socket, address: Any, *rest: Any) -> NoReturn:
        raise AssertionError(f"a unit test may not use the network (it tried {address!r})")

    for method in ("connect", "connect_ex", "bind", "sendto"):
        patch.setattr(socket.socket, method, refuse)

"""Each way in which the ledger answers, seen by a plain client."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest

from tests.chaos.ledger import Behaviour, Do, Ledger, ledger
from tests.chaos.ledger.behaviour import Call, Rule, decide, meets
from tests.chaos.ledger.bodies import BODIES
from tests.support.waiting import eventually

_RUN = UUID(int=7)
_TEN_YEARS = 315_360_000
_GIVE_UP_SECONDS = 0.3  #: of a client that has seen enough


@pytest.fixture(scope="module")
def server() -> Iterator[Ledger]:
    with ledger() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_scripts(server: Ledger) -> None:
    server.forget()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def headers(attempt: int = 1, *, step: str = "notify") -> dict[str, str]:
    return {
        "TaskForge-Run": str(_RUN),
        "TaskForge-Step": step,
        "TaskForge-Attempt": f"{attempt};epoch=2;token=9",
        "Idempotency-Key": '"k"',
    }


def call(attempt: int = 1, *, path: str = "/x", ticket: str = "t") -> Call:
    return Call(path=path, ticket=ticket, step="notify", epoch=0, attempt=attempt)


async def get(
    client: aiohttp.ClientSession, server: Ledger, query: str = "", *, path: str = "/x", attempt: int = 1
) -> tuple[int, Mapping[str, str], bytes]:
    url = f"{server.url}{path}?ticket=t&{query}"
    async with client.get(url, headers=headers(attempt), allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


async def raw(server: Ledger, query: str, *, seconds: float = _GIVE_UP_SECONDS) -> tuple[bytes, float]:
    """What arrives within a time, and how soon the connection ended: a second more than that if it did not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers().items())
    writer.write(f"GET /x?ticket=t&{query} HTTP/1.1\r\nHost: ledger\r\n{head}\r\n".encode())
    found, started = bytearray(), time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(65536):
                found += data
        return bytes(found), time.monotonic() - started
    except TimeoutError:
        return bytes(found), seconds + 1
    finally:
        writer.transport.abort()


async def test_a_request_is_written_down(server: Ledger, client: aiohttp.ClientSession) -> None:
    before, moment = len(server.lines()), time.time()
    status, _, body = await get(client, server)
    assert (status, json.loads(body)) == (200, {"ticket": "t"})
    (line,) = server.lines()[before:]
    assert (line.run_id, line.step, line.attempt, line.epoch, line.token) == (_RUN, "notify", 1, 2, 9)
    assert (line.idempotency_key, line.ticket) == ('"k"', "t")
    assert moment <= line.at <= time.time()


async def test_many_at_once_are_all_written_down(server: Ledger, client: aiohttp.ClientSession) -> None:
    before = len(server.lines())
    answers = await asyncio.gather(*(get(client, server, f"number={number}") for number in range(200)))
    assert {status for status, _, _ in answers} == {200}
    assert len(server.lines()) - before == 200


async def test_the_line_is_there_while_the_caller_waits(server: Ledger, client: aiohttp.ClientSession) -> None:
    before, started = len(server.lines()), time.monotonic()
    asking = asyncio.create_task(get(client, server, "delay=0.3"))
    await eventually(lambda: _equal(len(server.lines()), before + 1), pause=0.01)
    assert not asking.done()
    await asking
    assert time.monotonic() - started >= 0.3


def _equal(found: object, expected: object) -> None:
    assert found == expected


@pytest.mark.parametrize("query", ["do=fly", "do=drip&every=soon", "do=status&attempts=x"])
async def test_nonsense_is_refused_and_not_written(query: str, server: Ledger, client: aiohttp.ClientSession) -> None:
    before = len(server.lines())
    assert (await get(client, server, query))[0] == 400
    assert len(server.lines()) == before


async def test_a_stranger_is_refused_and_not_written(server: Ledger, client: aiohttp.ClientSession) -> None:
    before = len(server.lines())
    async with client.get(f"{server.url}/x?ticket=t") as answer:
        assert answer.status == 400
    assert len(server.lines()) == before


@pytest.mark.parametrize("told", ["3", "-5", str(_TEN_YEARS), "soon"])
async def test_a_status_may_say_when_to_come_back(told: str, server: Ledger, client: aiohttp.ClientSession) -> None:
    status, answered, _ = await get(client, server, f"do=status&status=429&retry_after={told}")
    assert (status, answered["Retry-After"]) == (429, told)


@pytest.mark.parametrize("ahead", [60, -60, _TEN_YEARS])
async def test_it_may_say_so_by_a_date(ahead: int, server: Ledger, client: aiohttp.ClientSession) -> None:
    status, answered, _ = await get(client, server, f"do=status&retry_after=in:{ahead}")
    assert status == 503
    assert parsedate_to_datetime(answered["Retry-After"]).timestamp() - time.time() == pytest.approx(ahead, abs=5)


async def test_a_hang_has_an_effect_and_no_answer(server: Ledger) -> None:
    before = len(server.lines())
    found, took = await raw(server, "do=hang")
    assert (found, took > _GIVE_UP_SECONDS) == (b"", True)
    assert len(server.lines()) == before + 1


async def test_a_drip_comes_byte_by_byte(server: Ledger) -> None:
    found, took = await raw(server, "do=drip&every=0.05")
    assert took > _GIVE_UP_SECONDS
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 2 <= found.count(b"1\r\n \r\n") <= 8, "chunks of one byte"


async def test_a_header_may_drip(server: Ledger) -> None:
    found, took = await raw(server, "do=drip_head&every=0.05")
    assert took > _GIVE_UP_SECONDS
    assert found.startswith(b"HTTP/1.1 200 OK\r\nX-Slow: x")
    assert len(found) < 40


async def test_a_body_may_have_no_end(server: Ledger) -> None:
    found, took = await raw(server, "do=huge")
    assert took > _GIVE_UP_SECONDS
    assert len(found) > 1_000_000


async def test_a_body_may_say_how_huge_it_is(server: Ledger, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{server.url}/x?do=huge&size=5000000000", headers=headers()) as answer:
        assert answer.headers["Content-Length"] == "5000000000"
        answer.close()
    assert len((await get(client, server, "do=huge&size=100000"))[2]) == 100_000


async def test_a_bomb_is_a_thousand_times_what_it_seems(server: Ledger, client: aiohttp.ClientSession) -> None:
    size = 20 * 1024 * 1024
    _, answered, body = await get(client, server, f"do=gzipbomb&size={size}")
    assert answered["Content-Encoding"] == "gzip"
    assert len(body) < size / 900
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert len(decoder.decompress(body, size - 1)) == size - 1


async def test_encodings_may_be_stacked(server: Ledger, client: aiohttp.ClientSession) -> None:
    _, answered, body = await get(client, server, "do=encodings")
    names = answered["Content-Encoding"].split(", ")
    assert names == ["gzip"] * 50
    for _ in names:
        body = gzip.decompress(body)
    assert json.loads(body) == {"ticket": "t"}


async def test_headers_may_have_no_end(server: Ledger) -> None:
    found, took = await raw(server, "do=headers")
    assert took > _GIVE_UP_SECONDS
    assert found.startswith(b"HTTP/1.1 200 OK\r\nX-More:")
    assert found.count(b"X-More:") > 1000
    assert b"\r\n\r\n" not in found


async def test_continue_may_have_no_end(server: Ledger) -> None:
    found, took = await raw(server, "do=continue100")
    assert took > _GIVE_UP_SECONDS
    assert set(found.split(b"\r\n\r\n")[:-1]) == {b"HTTP/1.1 100 Continue"}


@pytest.mark.parametrize(("behaviour", "lines"), [("rst_before", 0), ("rst_after_effect", 1)])
async def test_a_reset_may_come_before_or_after(behaviour: str, lines: int, server: Ledger) -> None:
    before = len(server.lines())
    with pytest.raises(ConnectionResetError):
        await raw(server, f"do={behaviour}")
    assert len(server.lines()) - before == lines


async def test_a_redirect_may_lead_nowhere(server: Ledger, client: aiohttp.ClientSession) -> None:
    status, answered, _ = await get(client, server, "do=redirect")
    assert (status, answered["Location"]) == (302, "/x?ticket=t&do=redirect")
    status, answered, _ = await get(client, server, "do=redirect&status=307&location=http://other/")
    assert (status, answered["Location"]) == (307, "http://other/")


@pytest.mark.parametrize("named", BODIES)
async def test_bodies_arrive_as_they_are(named: str, server: Ledger, client: aiohttp.ClientSession) -> None:
    status, answered, body = await get(client, server, f"do=body&named={named}")
    assert (status, answered["Content-Type"], body) == (200, "application/json", BODIES[named])


async def test_a_script_goes_before_the_query(server: Ledger, client: aiohttp.ClientSession) -> None:
    server.script(Behaviour(do=Do.BODY, body=b"\0\xff", content_type="text/plain"), path="/x", nth=2)
    server.script(Behaviour(do=Do.STATUS, status=500), path="/y", times=1)
    assert [(await get(client, server))[2] for _ in range(3)][1] == b"\0\xff"
    assert [(await get(client, server, path="/y"))[0] for _ in range(2)] == [500, 200]
    assert server.counts() == {"ok": 3, "body": 1, "status": 1}
    server.forget()
    assert server.counts() == {}


async def test_only_the_first_attempts_may_fail(server: Ledger, client: aiohttp.ClientSession) -> None:
    query = Behaviour(do=Do.STATUS, status=502, attempts=2).query
    assert [(await get(client, server, query, attempt=attempt))[0] for attempt in (1, 2, 3)] == [502, 502, 200]


async def test_random_errors_are_those_of_the_attempt(server: Ledger, client: aiohttp.ClientSession) -> None:
    async def seen() -> list[int]:
        answers = [await get(client, server, "do=random_5xx", attempt=attempt) for attempt in range(1, 41)]
        return [status for status, _, _ in answers]

    first = await seen()
    assert first == await seen()
    assert set(first) <= {200, 500, 502, 503, 504}
    assert 10 <= first.count(200) <= 30


def test_a_behaviour_is_read_as_it_was_written() -> None:
    behaviour = Behaviour(do=Do.RANDOM_5XX, delay=0.5, attempts=3, body=b"\0\xff", retry_after="in:5")
    assert Behaviour.read(behaviour.written()) == behaviour
    assert Behaviour.read({}) == Behaviour()


def test_rules_count_from_when_they_are_made() -> None:
    rules = [Rule(behaviour=Behaviour(do=Do.HANG), path="/x", nth=2), Rule(behaviour=Behaviour(do=Do.HUGE), times=1)]
    seen = [decide(rules, {"do": "drip"}, call(path=path)).do for path in ("/y", "/x", "/x", "/x")]
    assert seen == ["huge", "drip", "hang", "drip"]


def test_chance_is_the_attempts_own() -> None:
    behaviour = Behaviour(do=Do.HANG, chance=0.3)
    met = [meets(behaviour, call(ticket=f"t{number}")) for number in range(1000)]
    assert met == [meets(behaviour, call(ticket=f"t{number}")) for number in range(1000)]
    assert 230 < sum(met) < 370

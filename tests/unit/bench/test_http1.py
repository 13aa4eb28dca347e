"""The load generator's own HTTP: what is built, and when a message is all there."""

from __future__ import annotations

import pytest

from tests.bench.http1 import Answer, answer_of, message_end, request

ANSWER = b'HTTP/1.1 429 Too Many Requests\r\nServer: edge\r\nContent-Length: 9\r\nx: y\r\n\r\n{"a": 12}'
GET = b"GET /item HTTP/1.1\r\nhost: here\r\n\r\n"


def test_a_request_has_its_host_path_query_and_length() -> None:
    built = request("POST", "http://127.0.0.1:80/a/b?c=d", {"x": "y"}, b"body")

    assert built == b"POST /a/b?c=d HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-length: 4\r\nx: y\r\n\r\nbody"
    assert message_end(built) == len(built)


@pytest.mark.parametrize("length", range(len(ANSWER)))
def test_a_part_of_an_answer_is_not_an_answer(length: int) -> None:
    assert message_end(ANSWER[:length]) == 0


def test_an_answer_ends_where_it_says() -> None:
    assert message_end(ANSWER) == len(ANSWER)
    assert message_end(ANSWER + b"HTTP/1.1 200") == len(ANSWER)
    assert answer_of(ANSWER) == Answer(429, b'{"a": 12}')


def test_a_message_without_a_length_has_no_body() -> None:
    assert message_end(GET) == len(GET)


def test_a_length_counts_only_as_a_header() -> None:
    posted = b"POST / HTTP/1.1\r\ncontent-length: 24\r\n\r\n\r\ncontent-length: 9999\r\n"

    assert message_end(posted) == len(posted)


def test_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="without Content-Length"):
        message_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

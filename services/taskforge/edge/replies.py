"""What Envoy answers itself, in the shape of every other API error: `{"code", "message", "details"}`.

A gRPC caller gets Envoy's own trailers, because there a JSON body would become the status message; only their code is
the same. Envoy knows few statuses, and calls the others UNKNOWN or INTERNAL, which nobody can act on.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_BODY = "the request is not valid. %LOCAL_REPLY_BODY%"
#: HTTP status: (gRPC code, reason, message). What the caller can mend is told in the words of Envoy's filters.
_REPLIES: dict[int, tuple[int, str, str]] = {
    400: (3, "REQUEST_INVALID", _BODY),
    403: (7, "PERMISSION_DENIED", _BODY),
    404: (5, "ROUTE_NOT_FOUND", "there is no such method and path in this API"),
    408: (4, "REQUEST_TIMEOUT", "the request did not arrive in time"),
    413: (8, "BODY_TOO_LARGE", "the request's body is larger than allowed"),
    415: (3, "REQUEST_INVALID", _BODY),
    426: (3, "REQUEST_INVALID", _BODY),
    429: (8, "QUEUE_FULL", "too many requests; try again later"),
    431: (3, "REQUEST_INVALID", "the request's headers are larger than allowed"),
    502: (14, "SERVICE_UNAVAILABLE", "a service behind the edge gave no proper answer"),
    503: (14, "SERVICE_UNAVAILABLE", "a service behind the edge is not available; see `taskforge status`"),
    504: (4, "REQUEST_TIMEOUT", "the service did not answer in time; what it had begun may still take effect"),
}


_GRPC_UNIMPLEMENTED = 12  #: what gRPC says of a method that is not there


def _header_filter(match: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": match}}


def _content_type_is_grpc(*, invert: bool) -> dict[str, Any]:
    match = {"string_match": {"prefix": "application/grpc"}, "treat_missing_header_as_empty": True}
    return _header_filter({"name": "content-type", **match, "invert_match": invert})


def _is_transcoded(*, invert: bool) -> dict[str, Any]:
    return _header_filter({"name": "x-envoy-original-path", "present_match": True, "invert_match": invert})


#: A transcoded request looks like gRPC by then, but keeps the path with which it came.
_CAME_AS_HTTP = {"or_filter": {"filters": [_content_type_is_grpc(invert=True), _is_transcoded(invert=False)]}}
_CAME_AS_GRPC = [_content_type_is_grpc(invert=False), _is_transcoded(invert=True)]


def _mapper(comparison: dict[str, Any], code: int, reason: str, message: str) -> dict[str, Any]:
    # A failure of ours is told by flags only: its cause would name addresses. The access log has it.
    metadata = {"cause": "%RESPONSE_CODE_DETAILS%"} if message == _BODY else {"flags": "%RESPONSE_FLAGS%"}
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "taskforge",
        "metadata": {"request_id": "%REQ(X-REQUEST-ID)%", **metadata},
    }
    body = {"code": code, "message": message, "details": [info]}
    return {
        "filter": {"and_filter": {"filters": [{"status_code_filter": {"comparison": comparison}}, _CAME_AS_HTTP]}},
        "body_format_override": {"json_format": body, "omit_empty_values": True},
    }


def _status_mapper(status: int, code: int) -> dict[str, Any]:
    header = {"key": "grpc-status", "value": str(_GRPC_UNIMPLEMENTED if status == HTTPStatus.NOT_FOUND else code)}
    return {
        "filter": {
            "and_filter": {
                "filters": [{"status_code_filter": {"comparison": _comparison("EQ", status)}}, *_CAME_AS_GRPC]
            }
        },
        "headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _comparison(operator: str, status: int) -> dict[str, Any]:
    return {"op": operator, "value": {"default_value": status, "runtime_key": "taskforge.none"}}


#: Envoy's `local_reply_config.mappers`; the first that matches wins.
LOCAL_REPLIES: list[dict[str, Any]] = [
    *(_mapper(_comparison("EQ", status), *reply) for status, reply in _REPLIES.items()),
    *(_status_mapper(status, code) for status, (code, _, _) in _REPLIES.items()),
    _mapper(_comparison("GE", 500), 13, "INTERNAL", "the edge failed to answer"),
    _mapper(_comparison("GE", 400), 3, "REQUEST_INVALID", _BODY),
]

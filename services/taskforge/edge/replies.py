"""What Envoy answers itself, in the shape of every other API error: `{"code", "message", "details"}`.

A gRPC caller gets Envoy's own trailers: there a JSON body would become the status message.
"""

from __future__ import annotations

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


def _header_filter(match: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": match}}


#: A transcoded request looks like gRPC by then, but keeps the path with which it came.
_CAME_AS_HTTP: dict[str, Any] = {
    "or_filter": {
        "filters": [
            _header_filter(
                {
                    "name": "content-type",
                    "string_match": {"prefix": "application/grpc"},
                    "treat_missing_header_as_empty": True,
                    "invert_match": True,
                }
            ),
            _header_filter({"name": "x-envoy-original-path", "present_match": True}),
        ]
    }
}


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


def _comparison(operator: str, status: int) -> dict[str, Any]:
    return {"op": operator, "value": {"default_value": status, "runtime_key": "taskforge.none"}}


#: Envoy's `local_reply_config.mappers`; the first that matches wins.
LOCAL_REPLIES: list[dict[str, Any]] = [
    *(_mapper(_comparison("EQ", status), *reply) for status, reply in _REPLIES.items()),
    _mapper(_comparison("GE", 500), 13, "INTERNAL", "the edge failed to answer"),
    _mapper(_comparison("GE", 400), 3, "REQUEST_INVALID", _BODY),
]

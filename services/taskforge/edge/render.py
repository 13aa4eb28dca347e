"""Fills in the Envoy template: the same one for Unix sockets on one machine and for host names in containers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from taskforge.edge.replies import LOCAL_REPLIES

#: The services that the gateway offers to everybody. Ingest has `HookService`. Nothing else is reachable.
GATEWAY_SERVICES = (
    "taskforge.v1.DeadLetterService",
    "taskforge.v1.RunService",
    "taskforge.v1.ScheduleService",
    "taskforge.v1.SecretService",
    "taskforge.v1.SystemService",
    "taskforge.v1.WebhookService",
    "taskforge.v1.WorkflowService",
)
HOOK_SERVICE = "taskforge.v1.HookService"
API_BODY_BYTES = 4 * 1024 * 1024
HOOK_BODY_BYTES = 1024 * 1024
RESPONSE_BYTES = 64 * 1024 * 1024

# Where a webhook request shows itself: as it came, transcoded, or called by native gRPC.
_HOOK_PATHS = ((":path", "/hooks/"), ("x-envoy-original-path", "/hooks/"), (":path", f"/{HOOK_SERVICE}/"))
_TYPES = "type.googleapis.com/envoy.extensions"
_TRANSCODER = f"{_TYPES}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The public port's certificate chain and key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What differs between installations. Addresses are `unix:/path` or `host:port`."""

    listen: str
    admin: str
    gateway: str
    ingest: str
    tls: Tls | None = None
    trusted_hops: int = 0  #: proxies in front that may name the client in x-forwarded-for
    health_check_seconds: int = 0  #: 0: the services' health is not polled
    hook_timeout_seconds: int = 120
    max_connections: int = 4096
    descriptors: Path | None = None  #: default: the set that ships with this package


def render(settings: EdgeSettings) -> str:
    """Write the configuration. Every value is JSON, so no path or name can break out of its place."""
    descriptors = settings.descriptors or descriptor_file()
    named = not (settings.gateway.startswith("unix:") and settings.ingest.startswith("unix:"))
    values = {
        "admin": _address(settings.admin),
        "listen": _address(settings.listen),
        "tls": _tls(settings.tls),
        "max_connections": settings.max_connections,
        "trusted_hops": settings.trusted_hops,
        "hook_timeout": f"{settings.hook_timeout_seconds}s",
        "discovery": "STRICT_DNS" if named else "STATIC",
        "gateway": _endpoints("gateway", settings.gateway),
        "ingest": _endpoints("ingest", settings.ingest),
        "health_checks": _health_checks(settings.health_check_seconds),
        "api_transcoder": _transcoder(descriptors, list(GATEWAY_SERVICES), API_BODY_BYTES, strict=True),
        "hook_transcoder": _transcoder(descriptors, [HOOK_SERVICE], HOOK_BODY_BYTES, strict=False),
        "api_body_bytes": API_BODY_BYTES,
        "hook_body_bytes": HOOK_BODY_BYTES,
        "no_transcoder": {"@type": _TRANSCODER, "proto_descriptor": str(descriptors), "services": []},
        "local_replies": LOCAL_REPLIES,
        "access_log": _access_logs(),
    }
    return Template(template()).substitute({name: json.dumps(value) for name, value in values.items()})


def template() -> str:
    """The template's text."""
    return (resources.files("taskforge.edge") / "envoy.yaml").read_text(encoding="utf-8")


def descriptor_file() -> Path:
    """Where the public protos' descriptor set lies."""
    return Path(str(resources.files("taskforge.edge") / "descriptors.binpb"))


def _address(address: str) -> Json:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:"), "mode": 0o600}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _endpoints(cluster: str, address: str) -> Json:
    where = _address(address)
    where.get("pipe", {}).pop("mode", None)  # a mode is for sockets that Envoy makes itself
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}]}


def _tls(tls: Tls | None) -> Json | None:
    if tls is None:
        return None
    certificate = {"certificate_chain": {"filename": str(tls.certificate)}, "private_key": {"filename": str(tls.key)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [certificate],
            },
        },
    }


def _health_checks(seconds: int) -> list[Json]:
    if not seconds:
        return []
    check = {"timeout": "2s", "interval": f"{seconds}s", "unhealthy_threshold": 2, "healthy_threshold": 1}
    return [{**check, "no_traffic_interval": f"{seconds}s", "grpc_health_check": {}}]


def _transcoder(descriptors: Path, services: list[str], body_bytes: int, *, strict: bool) -> Json:
    # A webhook's URL may carry any query string: it goes to ingest by header. The API refuses what it does not know.
    return {
        "@type": _TRANSCODER,
        "proto_descriptor": str(descriptors),
        "services": services,
        "convert_grpc_status": True,
        "ignore_unknown_query_parameters": not strict,
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": strict,
            "reject_binding_body_field_collisions": strict,
        },
        "print_options": {
            "always_print_primitive_fields": True,
            "preserve_proto_field_names": True,
            "stream_newline_delimited": True,
            "stream_sse_style_delimited": True,
        },
        "max_request_body_size": 2 * body_bytes,  # the buffer filter sets the real limit
        "max_response_body_size": RESPONSE_BYTES,
    }


def _access_logs() -> list[Json]:
    """One JSON line a request, without query strings; a webhook's path holds its key, so it is left out too."""
    hooks = [_starts_with(header, prefix) for header, prefix in _HOOK_PATHS]
    others = [_starts_with(header, prefix, invert=True) for header, prefix in _HOOK_PATHS]
    path = {"path": "%PATH(NQ:ORIG_OR_PATH)%", "rpc": "%PATH(NQ:PATH)%"}
    return [_access_log({"and_filter": {"filters": others}}, path), _access_log({"or_filter": {"filters": hooks}}, {})]


def _starts_with(header: str, prefix: str, *, invert: bool = False) -> Json:
    match = {"name": header, "string_match": {"prefix": prefix}, "treat_missing_header_as_empty": True}
    return {"header_filter": {"header": {**match, "invert_match": invert}}}


def _access_log(only: Json, path: Json) -> Json:
    fields = {
        "time": "%START_TIME%",
        "route": "%ROUTE_NAME%",
        "method": "%REQ(:METHOD)%",
        **path,
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "received_bytes": "%BYTES_RECEIVED%",
        "sent_bytes": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": only,
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }

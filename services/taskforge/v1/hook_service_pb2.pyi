from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReceiveHookRequest(_message.Message):
    __slots__ = ("workflow", "trigger", "key", "body")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    trigger: str
    key: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, workflow: _Optional[str] = ..., trigger: _Optional[str] = ..., key: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class ReceiveHookResponse(_message.Message):
    __slots__ = ("verdict", "run", "delivery")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    verdict: str
    run: str
    delivery: str
    def __init__(self, verdict: _Optional[str] = ..., run: _Optional[str] = ..., delivery: _Optional[str] = ...) -> None: ...

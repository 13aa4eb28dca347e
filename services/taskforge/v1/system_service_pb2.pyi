import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("version", "time", "components", "active_runs", "queued_steps", "oldest_queued_seconds", "open_dead_letters", "schema_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_RUNS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_STEPS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_QUEUED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OPEN_DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    time: _timestamp_pb2.Timestamp
    components: _containers.RepeatedCompositeFieldContainer[Component]
    active_runs: int
    queued_steps: int
    oldest_queued_seconds: float
    open_dead_letters: int
    schema_version: int
    def __init__(self, version: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., components: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., active_runs: _Optional[int] = ..., queued_steps: _Optional[int] = ..., oldest_queued_seconds: _Optional[float] = ..., open_dead_letters: _Optional[int] = ..., schema_version: _Optional[int] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("name", "healthy", "message")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    healthy: bool
    message: str
    def __init__(self, name: _Optional[str] = ..., healthy: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class CheckInvariantsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "workflow", "since")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    workflow: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., workflow: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CheckInvariantsResponse(_message.Message):
    __slots__ = ("runs", "steps", "schedules", "ticks", "violations", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    TICKS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: int
    steps: int
    schedules: int
    ticks: int
    violations: _containers.RepeatedCompositeFieldContainer[InvariantViolation]
    next_page_token: str
    def __init__(self, runs: _Optional[int] = ..., steps: _Optional[int] = ..., schedules: _Optional[int] = ..., ticks: _Optional[int] = ..., violations: _Optional[_Iterable[_Union[InvariantViolation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class InvariantViolation(_message.Message):
    __slots__ = ("invariant", "run", "step", "message")
    INVARIANT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    invariant: str
    run: str
    step: str
    message: str
    def __init__(self, invariant: _Optional[str] = ..., run: _Optional[str] = ..., step: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

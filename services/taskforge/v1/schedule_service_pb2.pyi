import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Schedule(_message.Message):
    __slots__ = ("name", "cron", "every_seconds", "time_zone", "overlap", "next_ticks", "last_ticks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CRON_FIELD_NUMBER: _ClassVar[int]
    EVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    NEXT_TICKS_FIELD_NUMBER: _ClassVar[int]
    LAST_TICKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cron: str
    every_seconds: float
    time_zone: str
    overlap: str
    next_ticks: _containers.RepeatedCompositeFieldContainer[NextTick]
    last_ticks: _containers.RepeatedCompositeFieldContainer[Tick]
    def __init__(self, name: _Optional[str] = ..., cron: _Optional[str] = ..., every_seconds: _Optional[float] = ..., time_zone: _Optional[str] = ..., overlap: _Optional[str] = ..., next_ticks: _Optional[_Iterable[_Union[NextTick, _Mapping]]] = ..., last_ticks: _Optional[_Iterable[_Union[Tick, _Mapping]]] = ...) -> None: ...

class NextTick(_message.Message):
    __slots__ = ("time", "local_time", "note")
    TIME_FIELD_NUMBER: _ClassVar[int]
    LOCAL_TIME_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    local_time: str
    note: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., local_time: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class Tick(_message.Message):
    __slots__ = ("nominal_time", "handle_time", "outcome", "run")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Tick.Outcome]
        OUTCOME_FIRED: _ClassVar[Tick.Outcome]
        OUTCOME_SKIPPED_OVERLAP: _ClassVar[Tick.Outcome]
        OUTCOME_COALESCED: _ClassVar[Tick.Outcome]
        OUTCOME_MISSED_WINDOW: _ClassVar[Tick.Outcome]
    OUTCOME_UNSPECIFIED: Tick.Outcome
    OUTCOME_FIRED: Tick.Outcome
    OUTCOME_SKIPPED_OVERLAP: Tick.Outcome
    OUTCOME_COALESCED: Tick.Outcome
    OUTCOME_MISSED_WINDOW: Tick.Outcome
    NOMINAL_TIME_FIELD_NUMBER: _ClassVar[int]
    HANDLE_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    nominal_time: _timestamp_pb2.Timestamp
    handle_time: _timestamp_pb2.Timestamp
    outcome: Tick.Outcome
    run: str
    def __init__(self, nominal_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., handle_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[_Union[Tick.Outcome, str]] = ..., run: _Optional[str] = ...) -> None: ...

class ListSchedulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "workflow")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    workflow: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., workflow: _Optional[str] = ...) -> None: ...

class ListSchedulesResponse(_message.Message):
    __slots__ = ("schedules", "next_page_token")
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    schedules: _containers.RepeatedCompositeFieldContainer[Schedule]
    next_page_token: str
    def __init__(self, schedules: _Optional[_Iterable[_Union[Schedule, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetScheduleRequest(_message.Message):
    __slots__ = ("name", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

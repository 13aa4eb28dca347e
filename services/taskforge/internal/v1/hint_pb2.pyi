from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Hint(_message.Message):
    __slots__ = ("version", "run_id", "step")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    version: int
    run_id: bytes
    step: int
    def __init__(self, version: _Optional[int] = ..., run_id: _Optional[bytes] = ..., step: _Optional[int] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemError(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class StartRun(_message.Message):
    __slots__ = ("run_id", "revision_id", "inputs_json", "trigger_json", "cause_kind", "cause_trigger", "cause_id", "idempotency_scope", "idempotency_key", "request_hash", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_JSON_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_JSON_FIELD_NUMBER: _ClassVar[int]
    CAUSE_KIND_FIELD_NUMBER: _ClassVar[int]
    CAUSE_TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HASH_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    revision_id: bytes
    inputs_json: str
    trigger_json: str
    cause_kind: str
    cause_trigger: str
    cause_id: str
    idempotency_scope: str
    idempotency_key: str
    request_hash: bytes
    labels: _containers.ScalarMap[str, str]
    def __init__(self, run_id: _Optional[bytes] = ..., revision_id: _Optional[bytes] = ..., inputs_json: _Optional[str] = ..., trigger_json: _Optional[str] = ..., cause_kind: _Optional[str] = ..., cause_trigger: _Optional[str] = ..., cause_id: _Optional[str] = ..., idempotency_scope: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., request_hash: _Optional[bytes] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StartRunsRequest(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[StartRun]
    def __init__(self, runs: _Optional[_Iterable[_Union[StartRun, _Mapping]]] = ...) -> None: ...

class StartRunsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StartRunResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StartRunResult, _Mapping]]] = ...) -> None: ...

class StartRunResult(_message.Message):
    __slots__ = ("run_id", "created", "error")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    created: bool
    error: ItemError
    def __init__(self, run_id: _Optional[bytes] = ..., created: _Optional[bool] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class StepRef(_message.Message):
    __slots__ = ("run_id", "step")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    step: int
    def __init__(self, run_id: _Optional[bytes] = ..., step: _Optional[int] = ...) -> None: ...

class ClaimStepsRequest(_message.Message):
    __slots__ = ("executor_id", "executor_name", "hints", "poll", "limit", "held")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    executor_id: bytes
    executor_name: str
    hints: _containers.RepeatedCompositeFieldContainer[StepRef]
    poll: bool
    limit: int
    held: HeldLeases
    def __init__(self, executor_id: _Optional[bytes] = ..., executor_name: _Optional[str] = ..., hints: _Optional[_Iterable[_Union[StepRef, _Mapping]]] = ..., poll: _Optional[bool] = ..., limit: _Optional[int] = ..., held: _Optional[_Union[HeldLeases, _Mapping]] = ...) -> None: ...

class HeldLeases(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class ClaimStepsResponse(_message.Message):
    __slots__ = ("grants",)
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("lease", "attempt", "epoch", "revision_id", "workflow", "inputs_json", "trigger_json", "steps", "create_time_us", "lease_milliseconds")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    INPUTS_JSON_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_JSON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    LEASE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    attempt: int
    epoch: int
    revision_id: bytes
    workflow: str
    inputs_json: str
    trigger_json: str
    steps: _containers.RepeatedCompositeFieldContainer[KnownStep]
    create_time_us: int
    lease_milliseconds: int
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., revision_id: _Optional[bytes] = ..., workflow: _Optional[str] = ..., inputs_json: _Optional[str] = ..., trigger_json: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[KnownStep, _Mapping]]] = ..., create_time_us: _Optional[int] = ..., lease_milliseconds: _Optional[int] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("run_id", "step", "token")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    step: int
    token: int
    def __init__(self, run_id: _Optional[bytes] = ..., step: _Optional[int] = ..., token: _Optional[int] = ...) -> None: ...

class KnownStep(_message.Message):
    __slots__ = ("step", "state", "output_json", "branch_plus_one", "error_json")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    BRANCH_PLUS_ONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_JSON_FIELD_NUMBER: _ClassVar[int]
    step: int
    state: str
    output_json: str
    branch_plus_one: int
    error_json: str
    def __init__(self, step: _Optional[int] = ..., state: _Optional[str] = ..., output_json: _Optional[str] = ..., branch_plus_one: _Optional[int] = ..., error_json: _Optional[str] = ...) -> None: ...

class RenewLeasesRequest(_message.Message):
    __slots__ = ("executor_id", "leases")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    executor_id: bytes
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, executor_id: _Optional[bytes] = ..., leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class RenewLeasesResponse(_message.Message):
    __slots__ = ("results",)
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNSPECIFIED: _ClassVar[RenewLeasesResponse.Result]
        RESULT_RENEWED: _ClassVar[RenewLeasesResponse.Result]
        RESULT_LOST: _ClassVar[RenewLeasesResponse.Result]
        RESULT_STOP: _ClassVar[RenewLeasesResponse.Result]
        RESULT_BUSY: _ClassVar[RenewLeasesResponse.Result]
    RESULT_UNSPECIFIED: RenewLeasesResponse.Result
    RESULT_RENEWED: RenewLeasesResponse.Result
    RESULT_LOST: RenewLeasesResponse.Result
    RESULT_STOP: RenewLeasesResponse.Result
    RESULT_BUSY: RenewLeasesResponse.Result
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedScalarFieldContainer[RenewLeasesResponse.Result]
    def __init__(self, results: _Optional[_Iterable[_Union[RenewLeasesResponse.Result, str]]] = ...) -> None: ...

class CompleteStepsRequest(_message.Message):
    __slots__ = ("executor_id", "stretches")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    STRETCHES_FIELD_NUMBER: _ClassVar[int]
    executor_id: bytes
    stretches: _containers.RepeatedCompositeFieldContainer[Stretch]
    def __init__(self, executor_id: _Optional[bytes] = ..., stretches: _Optional[_Iterable[_Union[Stretch, _Mapping]]] = ...) -> None: ...

class Stretch(_message.Message):
    __slots__ = ("lease", "outcome", "carried", "accept_next", "known")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CARRIED_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_NEXT_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    outcome: StepOutcome
    carried: _containers.RepeatedCompositeFieldContainer[StepOutcome]
    accept_next: bool
    known: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ..., outcome: _Optional[_Union[StepOutcome, _Mapping]] = ..., carried: _Optional[_Iterable[_Union[StepOutcome, _Mapping]]] = ..., accept_next: _Optional[bool] = ..., known: _Optional[_Iterable[int]] = ...) -> None: ...

class StepOutcome(_message.Message):
    __slots__ = ("step", "kind", "output_json", "branch_plus_one", "error", "elapsed_us")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[StepOutcome.Kind]
        KIND_SUCCEEDED: _ClassVar[StepOutcome.Kind]
        KIND_SKIPPED: _ClassVar[StepOutcome.Kind]
        KIND_FAILED: _ClassVar[StepOutcome.Kind]
        KIND_CANCELLED: _ClassVar[StepOutcome.Kind]
        KIND_RELEASED: _ClassVar[StepOutcome.Kind]
    KIND_UNSPECIFIED: StepOutcome.Kind
    KIND_SUCCEEDED: StepOutcome.Kind
    KIND_SKIPPED: StepOutcome.Kind
    KIND_FAILED: StepOutcome.Kind
    KIND_CANCELLED: StepOutcome.Kind
    KIND_RELEASED: StepOutcome.Kind
    STEP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    BRANCH_PLUS_ONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    step: int
    kind: StepOutcome.Kind
    output_json: str
    branch_plus_one: int
    error: StepFailure
    elapsed_us: int
    def __init__(self, step: _Optional[int] = ..., kind: _Optional[_Union[StepOutcome.Kind, str]] = ..., output_json: _Optional[str] = ..., branch_plus_one: _Optional[int] = ..., error: _Optional[_Union[StepFailure, _Mapping]] = ..., elapsed_us: _Optional[int] = ...) -> None: ...

class StepFailure(_message.Message):
    __slots__ = ("kind", "message", "status", "retry_after_ms_plus_one", "details_json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_PLUS_ONE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    status: int
    retry_after_ms_plus_one: int
    details_json: str
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., status: _Optional[int] = ..., retry_after_ms_plus_one: _Optional[int] = ..., details_json: _Optional[str] = ...) -> None: ...

class CompleteStepsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StretchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StretchResult, _Mapping]]] = ...) -> None: ...

class StretchResult(_message.Message):
    __slots__ = ("kind", "next", "error")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[StretchResult.Kind]
        KIND_ACCEPTED: _ClassVar[StretchResult.Kind]
        KIND_ALREADY_ACCEPTED: _ClassVar[StretchResult.Kind]
        KIND_STALE_LEASE: _ClassVar[StretchResult.Kind]
        KIND_REJECTED: _ClassVar[StretchResult.Kind]
    KIND_UNSPECIFIED: StretchResult.Kind
    KIND_ACCEPTED: StretchResult.Kind
    KIND_ALREADY_ACCEPTED: StretchResult.Kind
    KIND_STALE_LEASE: StretchResult.Kind
    KIND_REJECTED: StretchResult.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    kind: StretchResult.Kind
    next: Grant
    error: ItemError
    def __init__(self, kind: _Optional[_Union[StretchResult.Kind, str]] = ..., next: _Optional[_Union[Grant, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class AppendLogsRequest(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("run_id", "step", "epoch", "attempt", "number", "level", "message", "data_json", "time_us")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    step: int
    epoch: int
    attempt: int
    number: int
    level: str
    message: str
    data_json: str
    time_us: int
    def __init__(self, run_id: _Optional[bytes] = ..., step: _Optional[int] = ..., epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., number: _Optional[int] = ..., level: _Optional[str] = ..., message: _Optional[str] = ..., data_json: _Optional[str] = ..., time_us: _Optional[int] = ...) -> None: ...

class AppendLogsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRevisionsRequest(_message.Message):
    __slots__ = ("revision_ids",)
    REVISION_IDS_FIELD_NUMBER: _ClassVar[int]
    revision_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, revision_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetRevisionsResponse(_message.Message):
    __slots__ = ("revisions",)
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    def __init__(self, revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("revision_id", "workflow", "number", "source")
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    revision_id: bytes
    workflow: str
    number: int
    source: str
    def __init__(self, revision_id: _Optional[bytes] = ..., workflow: _Optional[str] = ..., number: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class GetSecretsRequest(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetSecretsResponse(_message.Message):
    __slots__ = ("secrets",)
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[SealedSecret]
    def __init__(self, secrets: _Optional[_Iterable[_Union[SealedSecret, _Mapping]]] = ...) -> None: ...

class SealedSecret(_message.Message):
    __slots__ = ("name", "version", "sealed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    sealed: bytes
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., sealed: _Optional[bytes] = ...) -> None: ...

class CancelRunsRequest(_message.Message):
    __slots__ = ("run_ids", "actor", "comment")
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[bytes]
    actor: str
    comment: str
    def __init__(self, run_ids: _Optional[_Iterable[bytes]] = ..., actor: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class CancelRunsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ...) -> None: ...

class ItemResult(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: ItemError
    def __init__(self, error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class RedriveRequest(_message.Message):
    __slots__ = ("items", "actor", "comment")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[RedriveItem]
    actor: str
    comment: str
    def __init__(self, items: _Optional[_Iterable[_Union[RedriveItem, _Mapping]]] = ..., actor: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class RedriveItem(_message.Message):
    __slots__ = ("run_id", "dead_letter_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    dead_letter_id: bytes
    def __init__(self, run_id: _Optional[bytes] = ..., dead_letter_id: _Optional[bytes] = ...) -> None: ...

class RedriveResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ...) -> None: ...

class DiscardDeadLettersRequest(_message.Message):
    __slots__ = ("dead_letter_ids", "actor", "comment")
    DEAD_LETTER_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    dead_letter_ids: _containers.RepeatedScalarFieldContainer[bytes]
    actor: str
    comment: str
    def __init__(self, dead_letter_ids: _Optional[_Iterable[bytes]] = ..., actor: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class DiscardDeadLettersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ...) -> None: ...

"""The internal gRPC servicer: unpacks messages, puts them into batches, packs the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc

from taskforge.domain.errors import TaskforgeError, Unavailable
from taskforge.failpoints import Point, reach
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceServicer
from taskforge.runtime.batcher import Batcher
from taskforge.scheduler.claims import Claim, Claimer, Granted
from taskforge.scheduler.completions import Completed, Completer, Report, Result
from taskforge.scheduler.convert import checked_json, uuid_from
from taskforge.scheduler.leases import HeldLease, Renewer
from taskforge.scheduler.operators import Operators, Request
from taskforge.scheduler.starts import NewRun, StartedRun, Starter
from taskforge.scheduler.sweeps import Hints
from taskforge.store import logs, revisions
from taskforge.store.pool import Database

Context = grpc.aio.ServicerContext[Any, Any]
MAX_CLAIM = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the servicer hands its work to."""

    database: Database
    hints: Hints
    starter: Starter
    claimer: Claimer
    completer: Completer
    renewer: Renewer
    operators: Operators
    retry_in: Callable[[float], None]  #: told of each delay in seconds after which a step will be due


class SchedulerService(SchedulerServiceServicer):
    """See proto/taskforge/internal/v1/scheduler_service.proto."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._starts: Batcher[NewRun, StartedRun] = Batcher("start_runs", self._flush_starts, concurrency=2)
        # What memory does not settle goes on to those who read. It is another batch: nobody waits for it but itself.
        self._known_claims: Batcher[Claim, Granted] = Batcher(
            "claim_known_steps", self._flush_known_claims, max_items=20
        )
        self._claims: Batcher[Claim, list[pb.Grant]] = Batcher("claim_steps", self._flush_claims, max_items=20)
        self._known_reports: Batcher[Report, pb.StretchResult | None] = Batcher(
            "complete_known_steps", self._flush_known_reports, concurrency=2
        )
        self._reports: Batcher[Report, pb.StretchResult | None] = Batcher(
            "complete_steps", self._flush_reports, concurrency=2
        )

    async def drain(self) -> None:
        """Wait until everything that was taken in is written."""
        for batcher in (self._starts, self._known_claims, self._claims, self._known_reports, self._reports):
            await batcher.drain()

    async def StartRuns(self, request: pb.StartRunsRequest, context: Context) -> pb.StartRunsResponse:  # noqa: N802
        """Create runs."""
        results = await self._starts.submit_all([_new_run(run) for run in request.runs])
        await reach(Point.BEFORE_REPLY)
        return pb.StartRunsResponse(results=[_start_result(result) for result in results])

    async def ClaimSteps(self, request: pb.ClaimStepsRequest, context: Context) -> pb.ClaimStepsResponse:  # noqa: N802
        """Lease steps."""
        claim = Claim(
            executor_id=uuid_from(request.executor_id),
            hints=tuple((uuid_from(ref.run_id), ref.step) for ref in request.hints),
            poll=request.poll,
            limit=min(request.limit, MAX_CLAIM),
            held=frozenset(_held(lease) for lease in request.held.leases) if request.HasField("held") else None,
        )
        if claim.limit <= 0 or not (claim.hints or claim.poll):
            return pb.ClaimStepsResponse()
        return pb.ClaimStepsResponse(grants=await self._claim(claim))

    async def RenewLeases(  # noqa: N802
        self, request: pb.RenewLeasesRequest, context: Context
    ) -> pb.RenewLeasesResponse:
        """Extend leases."""
        held = [_held(lease) for lease in request.leases]
        results = await self._parts.renewer.renew(uuid_from(request.executor_id), held)
        return pb.RenewLeasesResponse(results=results)

    async def CompleteSteps(  # noqa: N802
        self, request: pb.CompleteStepsRequest, context: Context
    ) -> pb.CompleteStepsResponse:
        """Take stretches."""
        executor_id = uuid_from(request.executor_id)
        reports = [Report(executor_id=executor_id, stretch=stretch) for stretch in request.stretches]
        results = await self._known_reports.submit_all(reports)
        left = [index for index, result in enumerate(results) if result is None]
        for index, result in zip(left, await self._reports.submit_all([reports[i] for i in left]), strict=True):
            results[index] = result
        return pb.CompleteStepsResponse(results=[_or_raise(result) for result in results])

    async def AppendLogs(self, request: pb.AppendLogsRequest, context: Context) -> pb.AppendLogsResponse:  # noqa: N802
        """Append log lines."""
        await logs.append(self._parts.database, [_log_line(line) for line in request.lines])
        return pb.AppendLogsResponse()

    async def GetRevisions(  # noqa: N802
        self, request: pb.GetRevisionsRequest, context: Context
    ) -> pb.GetRevisionsResponse:
        """Read definitions."""
        rows = await revisions.read(self._parts.database, [uuid_from(raw) for raw in request.revision_ids])
        found = [
            pb.Revision(revision_id=row.revision_id.bytes, workflow=row.workflow, number=row.number, source=row.source)
            for row in rows
        ]
        return pb.GetRevisionsResponse(revisions=found)

    async def GetSecrets(self, request: pb.GetSecretsRequest, context: Context) -> pb.GetSecretsResponse:  # noqa: N802
        """Read sealed secrets."""
        rows = await revisions.read_sealed_secrets(self._parts.database, list(request.names))
        return pb.GetSecretsResponse(
            secrets=[pb.SealedSecret(name=row.name, version=row.version, sealed=row.sealed) for row in rows]
        )

    async def CancelRuns(self, request: pb.CancelRunsRequest, context: Context) -> pb.CancelRunsResponse:  # noqa: N802
        """Stop runs."""
        by = Request(actor=request.actor, comment=request.comment)
        errors = [await self._parts.operators.cancel(uuid_from(raw), by) for raw in request.run_ids]
        return pb.CancelRunsResponse(results=[_item_result(error) for error in errors])

    async def Redrive(self, request: pb.RedriveRequest, context: Context) -> pb.RedriveResponse:  # noqa: N802
        """Run failed steps again."""
        by = Request(actor=request.actor, comment=request.comment)
        errors = []
        for item in request.items:
            if item.dead_letter_id:
                error, hints = await self._parts.operators.redrive(uuid_from(item.dead_letter_id), by)
            else:
                error, hints = await self._parts.operators.retry_run(uuid_from(item.run_id), by)
            self._parts.hints.publish(hints)
            errors.append(error)
        return pb.RedriveResponse(results=[_item_result(error) for error in errors])

    async def DiscardDeadLetters(  # noqa: N802
        self, request: pb.DiscardDeadLettersRequest, context: Context
    ) -> pb.DiscardDeadLettersResponse:
        """Close dead letters."""
        by = Request(actor=request.actor, comment=request.comment)
        errors = [await self._parts.operators.discard(uuid_from(raw), by) for raw in request.dead_letter_ids]
        return pb.DiscardDeadLettersResponse(results=[_item_result(error) for error in errors])

    async def _flush_starts(self, runs: Sequence[NewRun]) -> Sequence[StartedRun | TaskforgeError]:
        results, hints = await self._parts.starter.start(runs)
        self._parts.hints.publish(hints)
        return results

    async def _claim(self, claim: Claim) -> list[pb.Grant]:
        claimed = await self._known_claims.submit(claim)
        if claimed.left is None:
            return claimed.grants
        try:
            return claimed.grants + await self._claims.submit(claimed.left)
        except TaskforgeError:
            if not claimed.grants:
                raise
            return claimed.grants  # these are leased, whatever becomes of the others

    async def _flush_known_claims(self, claims: Sequence[Claim]) -> Sequence[Granted]:
        return await self._parts.claimer.claim_known(claims)

    async def _flush_claims(self, claims: Sequence[Claim]) -> Sequence[list[pb.Grant] | TaskforgeError]:
        return await self._parts.claimer.claim(claims)

    async def _flush_known_reports(self, reports: Sequence[Report]) -> Sequence[Result]:
        return self._told(await self._parts.completer.complete_known(reports))

    async def _flush_reports(self, reports: Sequence[Report]) -> Sequence[Result]:
        return self._told(await self._parts.completer.complete(reports))

    def _told(self, done: Completed) -> Sequence[Result]:
        self._parts.hints.publish(done.queued)
        if done.delays:
            self._parts.retry_in(min(done.delays))
        return done.results


def _or_raise(result: Result) -> pb.StretchResult:
    if isinstance(result, TaskforgeError):
        raise result
    assert result is not None  # noqa: S101 -- whoever reads has an answer
    return result


def _held(lease: pb.Lease) -> HeldLease:
    return HeldLease(run_id=uuid_from(lease.run_id), step=lease.step, token=lease.token)


def _new_run(message: pb.StartRun) -> NewRun:
    key = (message.idempotency_scope, message.idempotency_key) if message.idempotency_key else None
    return NewRun(
        run_id=uuid_from(message.run_id),
        revision_id=uuid_from(message.revision_id),
        inputs=checked_json(message.inputs_json or "{}"),
        trigger=checked_json(message.trigger_json or "{}"),
        cause_kind=message.cause_kind,
        cause_trigger=message.cause_trigger,
        cause_id=message.cause_id,
        key=key,
        request_hash=message.request_hash,
        labels=dict(message.labels),
    )


def _start_result(result: StartedRun | TaskforgeError) -> pb.StartRunResult:
    if isinstance(result, Unavailable):
        raise result  # nobody's own fault: the whole call may be sent again
    if isinstance(result, TaskforgeError):
        return pb.StartRunResult(error=_item_error(result))
    return pb.StartRunResult(run_id=result.run_id.bytes, created=result.created)


def _item_result(error: TaskforgeError | None) -> pb.ItemResult:
    return pb.ItemResult(error=_item_error(error) if error is not None else None)


def _item_error(error: TaskforgeError) -> pb.ItemError:
    return pb.ItemError(reason=error.reason, message=error.message)


def _log_line(line: pb.LogLine) -> logs.LogLine:
    return logs.LogLine(
        run_id=uuid_from(line.run_id),
        step=line.step,
        epoch=line.epoch,
        attempt=line.attempt,
        number=line.number,
        level=line.level,
        message=line.message.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
        data=checked_json(line.data_json) or None,
        at=datetime.fromtimestamp(line.time_us / 1_000_000, tz=UTC),
    )

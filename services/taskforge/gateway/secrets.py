"""The SecretService: set, list, delete. Values come in and never go out."""

from __future__ import annotations

import hmac
import re

from google.protobuf.empty_pb2 import Empty

from taskforge.gateway.convert import timestamp
from taskforge.gateway.deadlines import Context
from taskforge.gateway.names import field_invalid, parse_name, workflow_name
from taskforge.gateway.paging import Paging
from taskforge.runtime.guard import caller
from taskforge.security.keyring import KeyRing, SealError
from taskforge.store.secrets import Sealed, SecretRow, Secrets
from taskforge.v1 import secret_service_pb2 as pb
from taskforge.v1.secret_service_pb2_grpc import SecretServiceServicer

MAX_VALUE_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_PAGES = Paging(method="ListSecrets", first="", parse=str)


def is_secret_name(name: str) -> bool:
    """Whether a secret may have this name."""
    return _NAME.fullmatch(name) is not None


class SecretService(SecretServiceServicer):
    """See proto/taskforge/v1/secret_service.proto."""

    def __init__(self, secrets: Secrets, keyring: KeyRing) -> None:
        self._secrets = secrets
        self._keyring = keyring

    async def SetSecret(self, request: pb.SetSecretRequest, context: Context) -> pb.Secret:  # noqa: N802
        """Store a value as a new version; a value that is stored already is kept."""
        name = _checked_name(request.name)
        value = request.value.encode()
        if not value:
            raise field_invalid("value", "is empty")
        if len(value) > MAX_VALUE_BYTES:
            raise field_invalid("value", f"has {len(value)} bytes; the limit is {MAX_VALUE_BYTES}")
        row = await self._secrets.put(name, lambda stored: self._reseal(name, value, stored), actor=caller.get())
        return _message(row)

    async def ListSecrets(self, request: pb.ListSecretsRequest, context: Context) -> pb.ListSecretsResponse:  # noqa: N802
        """List secrets by name."""
        page = _PAGES.open(request.page_size, request.page_token)
        rows = await self._secrets.page(after=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.name)
        return pb.ListSecretsResponse(secrets=[_message(row) for row in shown], next_page_token=token)

    async def DeleteSecret(self, request: pb.DeleteSecretRequest, context: Context) -> Empty:  # noqa: N802
        """Delete a secret."""
        (name,) = parse_name(request.name, "secrets", field="name")
        await self._secrets.delete(name, force=request.force, actor=caller.get())
        return Empty()

    def _reseal(self, name: str, value: bytes, stored: Sealed | None) -> Sealed | None:
        if stored is not None and self._holds(name, value, stored):
            return None
        version = stored.version + 1 if stored else 1
        return Sealed(version=version, content=self._keyring.seal(name, version, value))

    def _holds(self, name: str, value: bytes, stored: Sealed) -> bool:
        """Whether this very value is stored under the active key. Setting it again is also how a key is rotated."""
        try:
            known = self._keyring.open(name, stored.version, stored.content)
        except SealError:
            return False
        return hmac.compare_digest(known, value) and self._keyring.is_current(stored.content)


def _checked_name(name: str) -> str:
    (text,) = parse_name(name, "secrets", field="name")
    if not is_secret_name(text):
        raise field_invalid(
            "name",
            f"is {text[:80]!r}, which is no name of a secret",
            hint="use upper-case letters, digits and _, and begin with a letter: GH_TOKEN",
        )
    return text


def _message(row: SecretRow) -> pb.Secret:
    return pb.Secret(
        name=f"secrets/{row.name}",
        version=row.version,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
        used_by=[workflow_name(workflow) for workflow in row.used_by],
    )

"""Secrets, opened here and nowhere else, kept for seconds, and masked out of whatever leaves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from taskforge.domain.outcome import ErrorKind
from taskforge.executor.faults import fault
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.runtime.batcher import Batcher
from taskforge.security.keyring import KeyRing, SealError
from taskforge.security.masking import Masker

KEEP_SECONDS = 10.0  #: a rotated or deleted secret is in use for no longer

_MASKERS = 256
NO_MASK = Masker(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One version of a secret, opened."""

    name: str
    version: int
    value: str

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, version={self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unusable:
    """Why there is no value."""

    message: str


class SecretCache:
    """Reads what is missing, in batches."""

    def __init__(self, scheduler: SchedulerClient, keyring: KeyRing) -> None:
        self._scheduler = scheduler
        self._keyring = keyring
        self._kept: dict[str, tuple[float, Secret]] = {}
        self._maskers: OrderedDict[frozenset[tuple[str, int]], Masker] = OrderedDict()
        self._batcher: Batcher[str, Secret | _Unusable] = Batcher("read_secrets", self._read)

    async def resolve(self, names: Iterable[str]) -> list[Secret]:
        """The secrets of these names. Raises StepFault when one is missing or does not open; may raise Unavailable."""
        now = monotonic()
        secrets = []
        for name in names:
            expires, kept = self._kept.get(name, (0.0, None))
            secret = kept if kept is not None and now < expires else await self._batcher.submit(name)
            if isinstance(secret, _Unusable):
                raise fault(ErrorKind.SECRET, secret.message)
            secrets.append(secret)
        return secrets

    def masker(self, secrets: Iterable[Secret]) -> Masker:
        """What keeps these secrets out of texts. Building one is slow, so they are kept."""
        by_version = {(secret.name, secret.version): secret.value for secret in secrets}
        key = frozenset(by_version)
        masker = self._maskers.get(key)
        if masker is None:
            masker = self._maskers[key] = Masker(by_version.values())
            if len(self._maskers) > _MASKERS:
                self._maskers.popitem(last=False)
        else:
            self._maskers.move_to_end(key)
        return masker

    async def _read(self, names: Sequence[str]) -> Sequence[Secret | _Unusable]:
        sealed = {secret.name: secret for secret in await self._scheduler.read_secrets(sorted(set(names)))}
        expires = monotonic() + KEEP_SECONDS
        found: list[Secret | _Unusable] = []
        for name in names:
            if name not in sealed:
                found.append(_Unusable(message=f"the secret '{name}' is not set; run: taskforge secret set {name}"))
                continue
            secret = self._open(name, sealed[name].version, sealed[name].sealed)
            if isinstance(secret, Secret):
                self._kept[name] = (expires, secret)
            found.append(secret)
        return found

    def _open(self, name: str, version: int, sealed: bytes) -> Secret | _Unusable:
        try:
            return Secret(name=name, version=version, value=self._keyring.open(name, version, sealed).decode())
        except SealError as error:
            return _Unusable(message=str(error))
        except UnicodeDecodeError:
            return _Unusable(message=f"the secret '{name}' is not text")

"""What has been released stays as it was."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from taskforge.store.migrate import migrations
from tests.support.places import ROOT
from tests.support.releases import released_migrations

_LOCKS = ("requirements.txt", "requirements-local.txt", "requirements-dev.txt", "requirements-build.txt")


def test_released_migrations_have_not_changed() -> None:
    now = {f"{each.number:04}_{each.name}": each.checksum for each in migrations()}
    released = released_migrations()
    assert {name: now.get(name) for name in released} == released


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize("name", _LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    requirements = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert requirements
    assert [entry.split()[0] for entry in requirements if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert re.findall(r"^--?\w.*|://\S+", text, re.MULTILINE) == []


@pytest.mark.parametrize(("name", "extra"), [(_LOCKS[0], ""), (_LOCKS[1], "local"), (_LOCKS[2], "dev")])
def test_a_lock_satisfies_what_the_project_asks_for(name: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"].get(extra, ())]
    ]
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    locked = {
        canonicalize_name(package): version for package, version in re.findall(r"^(\S+?)==(\S+)", text, re.MULTILINE)
    }
    missing = [
        str(requirement)
        for requirement in wanted
        if requirement.name != project["name"]
        and not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"))
    ]
    assert missing == [], "renew the lock: tests/run lock"


def test_every_lock_holds_what_the_smaller_one_does() -> None:
    """So that what is tested is what is shipped."""
    pins = [
        set(re.findall(r"^(\S+==\S+)", (ROOT / "deploy" / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in _LOCKS[:3]
    ]
    assert pins[0] < pins[1] < pins[2]

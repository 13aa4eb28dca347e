from __future__ import annotations

from pathlib import Path

import pytest

from taskforge_cli.definitions import find_files, read_definitions, require_valid
from taskforge_cli.errors import CliError, render
from taskforge_cli.paint import Paint

GOOD = "name: {name}\nsteps:\n  - {{id: a, log: hi}}\n"
BAD = "name: bad\nsteps:\n  - id: a\n    nedds: []\n    log: hi ${{ steps.b.output }}\n"


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_folders_are_searched_but_not_for_tests_and_hidden_files(tmp_path: Path) -> None:
    for name in ("b.yaml", "sub/a.yml", "b.test.yaml", ".git/c.yaml", "notes.txt"):
        write(tmp_path, name, "x")
    found = [Path(path).relative_to(tmp_path).as_posix() for path in find_files([str(tmp_path)])]
    assert found == ["b.yaml", "sub/a.yml"]


def test_a_file_that_was_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", GOOD.format(name="a"))
    assert find_files([path, str(tmp_path)]) == [path]


@pytest.mark.parametrize(("path", "code"), [("nowhere.yaml", "FILE_UNREADABLE"), ("", "FILE_UNREADABLE")])
def test_what_is_not_there_is_said(path: str, code: str) -> None:
    with pytest.raises(CliError) as caught:
        find_files([path or "no/folder"])
    assert caught.value.code == code


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        find_files([str(tmp_path)])
    assert caught.value.code == "NO_WORKFLOW_FILES"


def test_all_faults_of_all_files_are_shown_at_once_with_their_place(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.yaml", BAD), write(tmp_path, "b.yaml", GOOD.format(name="b"))]
    with pytest.raises(CliError) as caught:
        require_valid(read_definitions(paths))
    error = caught.value
    assert error.exit_code == 3
    assert error.message == "2 errors in 1 of 2 files"
    assert [(found["code"], found["line"]) for found in error.details] == [("TF1102", 4), ("TF1202", 5)]
    text = render(error, Paint(enabled=False))
    assert f"error[TF1102]: unknown key 'nedds'\n  --> {paths[0]}:4:5\n" in text
    assert "4 |     nedds: []\n  |     ^^^^^" in text


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{name}.yaml", GOOD.format(name="same")) for name in ("a", "b")]
    with pytest.raises(CliError, match="both define the workflow 'same'") as caught:
        require_valid(read_definitions(paths))
    assert caught.value.code == "TF1106"


def test_what_is_sent_is_what_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = GOOD.format(name="crlf").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    [found] = read_definitions([str(path)])
    assert found.source == text

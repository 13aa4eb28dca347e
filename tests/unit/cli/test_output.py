from __future__ import annotations

import json

import pytest

from taskforge.v1.run_pb2 import Run
from taskforge_cli.errors import CliError
from taskforge_cli.output import Format, Listing, Output
from taskforge_cli.paint import Paint, wants_colour
from taskforge_cli.table import Cell, Column, aligned, fit, width_of
from tests.unit.cli.messages_of_runs import RUN_ID, run

RUNS = Listing(
    field="runs",
    columns=(
        Column("ID", lambda run: Cell(run.name[5:10], "link", exact=run.name[5:])),
        Column("NOTE", lambda run: Cell(run.labels["note"]), stretch=True),
        Column("REVISION", lambda run: Cell(str(run.revision)), wide=True),
    ),
    empty="no runs",
)
ITEMS = [run(labels={"note": "two words"}), run(labels={"note": "tab\there"})]


def shown(
    capsys: pytest.CaptureFixture[str], form: Format | None, *, jq: str = "", columns: tuple[str, ...] = ()
) -> str:
    Output(form, jq=jq, columns=columns).messages(ITEMS, RUNS)
    return capsys.readouterr().out


def test_a_pipe_gets_every_column_exact_and_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, None) == f"{RUN_ID}\ttwo words\t1\n{RUN_ID}\ttab here\t1\n"


def test_a_table_that_was_asked_for_is_aligned_also_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, Format.TABLE).splitlines() == ["ID     NOTE", "0192f  two words", "0192f  tab here"]
    assert shown(capsys, Format.WIDE).splitlines()[0] == "ID     NOTE       REVISION"


def test_a_column_without_content_is_left_out_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE).messages([run()], RUNS)
    assert capsys.readouterr().out.splitlines() == ["ID", "0192f"]


def test_json_is_a_list_under_its_name_in_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(shown(capsys, Format.JSON))
    assert [item["labels"]["note"] for item in document["runs"]] == ["two words", "tab\there"]


def test_jsonl_is_one_item_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, Format.JSONL).splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"runs/{RUN_ID}"] * 2


def test_yaml_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, Format.YAML).startswith("runs:\n- name: runs/")
    assert shown(capsys, Format.NAME) == f"runs/{RUN_ID}\n" * 2


def test_jq_prints_texts_raw_and_everything_else_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, None, jq=".runs[0].labels.note, .runs[0].revision, .runs[0].labels") == (
        'two words\n1\n{"note": "two words"}\n'
    )


def test_a_wrong_jq_program_is_explained() -> None:
    with pytest.raises(CliError) as caught:
        Output(None, jq=".runs[").data({})
    assert caught.value.code == "JQ_INVALID"


def test_columns_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, None, columns=("revision", "id")).splitlines()[0] == f"1\t{RUN_ID}"
    with pytest.raises(CliError, match="no such column: nmae") as caught:
        shown(capsys, None, columns=("nmae",))
    assert caught.value.hints == ("there are: id, note, revision",)


def test_nothing_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Output(None).messages([], RUNS)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no runs\n")


def test_an_empty_list_is_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.JSON).messages([], RUNS)
    assert json.loads(capsys.readouterr().out) == {"runs": []}


def test_the_next_step_can_be_turned_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Output(None).next_step("taskforge status")
    monkeypatch.setenv("TASKFORGE_HINTS", "0")
    Output(None).next_step("taskforge status")
    assert capsys.readouterr().err == "next: taskforge status\n"


def test_a_narrow_terminal_shortens_the_columns_that_may_give_way() -> None:
    items = [Run(name="runs/12345", labels={"note": "x" * 50})]
    lines = aligned(RUNS.columns[:2], items, Paint(enabled=False), 20).splitlines()
    assert lines == ["ID     NOTE", "12345  xxxxxxxxxxxx…"]


def test_wide_characters_take_two_columns() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert fit("日本語", 5) == "日本…"


@pytest.mark.parametrize(
    ("environ", "is_terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_follow_the_conventions(environ: dict[str, str], is_terminal: bool, wanted: bool) -> None:
    assert wants_colour(environ, is_terminal=is_terminal) is wanted

"""What steps do: one file a kind."""

from __future__ import annotations

from collections.abc import Mapping

from taskforge.domain.workflow import ActionKind
from taskforge.executor.actions.action import Action
from taskforge.executor.actions.fail import run_fail
from taskforge.executor.actions.http import HttpAction
from taskforge.executor.actions.log import run_log
from taskforge.executor.actions.output import run_output
from taskforge.executor.actions.switch import SwitchAction
from taskforge.executor.actions.transform import TransformAction
from taskforge.executor.evaluation import Evaluator
from taskforge.executor.web.client import Client

Actions = Mapping[ActionKind, Action]


def build_actions(evaluator: Evaluator, client: Client) -> Actions:
    """Every kind that this executor can run. Steps of other kinds are handed back."""
    return {
        ActionKind.HTTP: HttpAction(client),
        ActionKind.TRANSFORM: TransformAction(evaluator),
        ActionKind.SWITCH: SwitchAction(evaluator),
        ActionKind.LOG: run_log,
        ActionKind.FAIL: run_fail,
        ActionKind.OUTPUT: run_output,
    }

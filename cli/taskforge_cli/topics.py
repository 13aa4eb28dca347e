"""Help topics: what is not about one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskforge_cli.codes import EXIT_MEANINGS


@dataclass(frozen=True, slots=True)
class Topic:
    """A page of `taskforge help`."""

    title: str
    text: Callable[[], str]


def overview() -> str:
    """The list of topics."""
    rows = "".join(f"  {name:<12}  {topic.title}\n" for name, topic in TOPICS.items())
    return f"Topics: taskforge help TOPIC\n\n{rows}\nCodes, such as TF1102 or RUN_NOT_FOUND, and commands work, too.\n"


def _exit_codes() -> str:
    rows = "".join(f"  {int(code):>3}  {meaning}\n" for code, meaning in EXIT_MEANINGS.items())
    return f"How a command ended.\n\n{rows}"


def _environment() -> str:
    return """Variables of the command line. Flags win over them, and they win over the config file.

  TASKFORGE_HOME      the home folder; default ~/.taskforge
  TASKFORGE_CONTEXT   the context of the config to use
  TASKFORGE_SERVER    the server's URL, whatever the config says
  TASKFORGE_TOKEN     the token to send
  TASKFORGE_RUNTIME   local or compose
  TASKFORGE_PORT      the port of the local stack
  TASKFORGE_REDIS     off starts the local stack without Valkey
  TASKFORGE_EXECUTORS how many executors the local stack runs
  TASKFORGE_HINTS     0 leaves out the "next:" lines
  NO_COLOR            no colours;  FORCE_COLOR: colours also in a pipe

Every other TASKFORGE_* variable goes to the services of the local stack when it starts; docs/reference/configuration.md
lists them. `taskforge config list --origin` shows which value came from where.
"""


def _formatting() -> str:
    return """Forms of a result: -o FORMAT, --json, --jq EXPR, --columns A,B

  table   aligned, for people. In a pipe, without -o: tab-separated, exact values, no header.
  wide    the table with every column
  json    one JSON document. A list is under its name in the API: {"runs": [...]}
  jsonl   a list as one JSON document a line
  yaml    the same as json, as YAML
  name    resource names alone: runs/0192f1c2-...

JSON is a contract: field names are those of the API, states are upper-case (SUCCEEDED), times are RFC 3339 in UTC, and
every field is always there. --jq runs a jq program on it; texts are printed raw.

  taskforge run list --state FAILED --jq '.runs[].name'
  taskforge run show @last --jq '.steps[] | [.id, .state] | @tsv'

Standard output holds data only; hints and progress go to stderr. With -o json an error is JSON on stderr, too:
{"error": {"code": "RUN_NOT_FOUND", "message": "...", "exit_code": 5, "hint": "..."}}
"""


def _expressions() -> str:
    return """Expressions are CEL between ${{ and }}, in any text of a workflow.
A text that is one whole expression keeps its type.

  ${{ inputs.repo }}                         an input
  ${{ trigger.body.ref }}                    what started the run: type, id, headers, query, body, nominal_at
  ${{ steps.fetch.output.body.tag_name }}    the output of a step that has ended before
  ${{ steps.fetch.state == 'FAILED' }}       its state; an output is there only when it SUCCEEDED
  ${{ has(steps.fetch.output) }}             whether a field is there
  ${{ secrets.GH_TOKEN }}                    a secret; in http steps and webhook verification only
  ${{ run.id }}                              the run: id, workflow, created_at

  size(list)   'a' in list   a ? b : c   list.filter(x, x > 1)   list.map(x, x * 2)   text.startsWith('v')
  int('3')   string(3)   has(a.b)   text.matches('^v[0-9]+')

For reshaping JSON, a transform step runs a jq program: transform: {input: ${{ ... }}, jq: '{tag: .tag_name}'}
Faults are found when a workflow is validated or applied: taskforge workflow validate FILE
"""


TOPICS: Mapping[str, Topic] = {
    "exit-codes": Topic("how commands end", _exit_codes),
    "environment": Topic("variables of the command line", _environment),
    "formatting": Topic("-o, --jq, and what programs may rely on", _formatting),
    "expressions": Topic("${{ }} in workflows", _expressions),
}

"""What a run of each workload does. The same work that other engines were measured with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of run."""

    name: str
    steps: str  #: YAML; `$target` is the target's address
    requests: int  #: that a run sends to the target

    def source(self, target: str) -> str:
        """The workflow's text."""
        return f"name: {self.workflow}\n{self.steps.replace('$target', target)}"

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return f"bench-{self.name}"


_HOP = """
steps:
  - id: fetch
    http: {url: "$target/item"}
"""

_CHAIN = """
steps:
  - id: fetch
    http: {url: "$target/item"}
  - id: shape
    transform:
      value: {name: "${{ steps.fetch.output.body.name }}", count: "${{ size(steps.fetch.output.body.tags) }}"}
  - id: route
    switch:
      - if: ${{ steps.shape.output.count > 0 }}
        steps:
          - id: announce
            http: {method: POST, url: "$target/announce", json: "${{ steps.shape.output }}"}
      - else:
        steps:
          - id: nothing
            log: nothing to announce
"""

_TEN = "\nsteps:\n" + "".join(f"  - id: step-{n}\n    transform: {{value: {n}}}\n" for n in range(10))

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="hop", steps=_HOP, requests=1),
        Workload(name="chain", steps=_CHAIN, requests=2),
        Workload(name="ten", steps=_TEN, requests=0),
    )
}

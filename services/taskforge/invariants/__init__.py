"""What must hold whatever fails: pure functions from rows to violations, by the ids I1 to I27.

`check.check` looks at the rows of any moment; `resting` wants a system that was left alone for a while. I23, that
nothing depends on what Redis holds, has no rule of its own: it says that the others hold after Redis was emptied.
"""

"""The workflow language: YAML text in, a checked and compiled `domain.Workflow` out. Pure: no I/O, no async."""

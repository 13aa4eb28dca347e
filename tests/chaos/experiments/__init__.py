"""The experiments of the fault catalogue, by theme."""

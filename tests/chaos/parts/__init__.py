"""The parts that faults are made of."""

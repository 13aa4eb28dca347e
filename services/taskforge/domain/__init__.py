"""The pure core: states, definitions, decisions. No I/O, no clock, no randomness, no protobuf."""

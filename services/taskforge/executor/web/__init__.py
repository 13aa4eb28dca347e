"""Outbound HTTP: where requests may go, how they are built, how answers are read."""

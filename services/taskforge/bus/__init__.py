"""Hints on a Redis stream: they make dispatch fast, nothing else. Losing, doubling or forging one is harmless."""

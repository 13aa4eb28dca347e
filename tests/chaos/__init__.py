"""Killing parts of the running product, and what must hold afterwards."""

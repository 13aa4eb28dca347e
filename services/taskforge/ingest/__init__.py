"""Trigger-ingest: outside events become runs, once."""

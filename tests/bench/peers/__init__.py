"""Peers, measured with the same work, target and connections as the product. Never part of the tests."""

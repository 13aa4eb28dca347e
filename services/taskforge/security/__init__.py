"""Secrets at rest, secrets in text, webhook signatures and API tokens. Pure, but for reading the key file."""

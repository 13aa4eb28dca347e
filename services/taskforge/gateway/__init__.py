"""The api-gateway: authenticates, validates, answers; owns definitions, secrets and tokens."""

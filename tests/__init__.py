"""The tests: one folder a layer, and `support` for what they share."""

import taskforge  # noqa: F401 -- before anything imports gRPC, which reads then what this says in the environment

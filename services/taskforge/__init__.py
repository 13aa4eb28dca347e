"""TaskForge: the services, the workflow language and the engine core."""

import os

# gRPC reads this once, when it is imported. Its newer way of polling hands what comes in from a thread of its own to
# the one that asks for it; the older one lets that thread look by itself, and costs a seventh less processor time.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

# What we fork runs another program at once. For that, gRPC's own preparations for a fork only add a way to crash.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

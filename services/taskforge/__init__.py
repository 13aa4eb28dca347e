"""TaskForge: the services, the workflow language and the engine core."""

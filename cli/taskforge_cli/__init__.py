"""The `taskforge` command: everything a user does, over the public API. Nothing heavy is imported before it is needed."""

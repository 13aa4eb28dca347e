"""The `taskforge` command: everything a user does, over the public API. Heavy imports wait until they are needed."""

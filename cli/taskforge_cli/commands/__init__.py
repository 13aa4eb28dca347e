"""One module a noun. Each is imported only when its command is called."""

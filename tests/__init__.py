"""The tests: one folder a layer, and `support` for what they share."""

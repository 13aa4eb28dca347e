"""What the benchmark measures, one module a part."""

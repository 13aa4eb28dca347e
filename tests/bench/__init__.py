"""The benchmark: throughput and cost of runs on the whole local stack, with everything on this machine."""

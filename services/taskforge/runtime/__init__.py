"""Process mechanics: configuration, logging, metrics, gRPC, loops, batches. No business words."""

"""The executor: claims steps, runs them, carries runs on. Owns no state and holds no database password."""

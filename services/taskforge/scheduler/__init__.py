"""The scheduler: owns runs and decides what happens next."""

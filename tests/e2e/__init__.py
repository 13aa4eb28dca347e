"""What people do with TaskForge, told on the whole product through its public door."""

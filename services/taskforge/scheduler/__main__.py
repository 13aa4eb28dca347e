"""`python -m taskforge.scheduler`."""

from taskforge.scheduler.main import main

main()

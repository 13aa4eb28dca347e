"""`python -m taskforge.executor`."""

from taskforge.executor.main import main

main()

"""`python -m taskforge.ingest`."""

from taskforge.ingest.main import main

main()

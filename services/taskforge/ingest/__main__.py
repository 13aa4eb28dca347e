"""`python -m taskforge.ingest`."""

from taskforge.runtime.lean import lean_imports

with lean_imports():
    from taskforge.ingest.main import main

if __name__ == "__main__":
    main()

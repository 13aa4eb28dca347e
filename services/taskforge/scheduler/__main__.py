"""`python -m taskforge.scheduler`."""

from taskforge.runtime.lean import lean_imports

with lean_imports():
    from taskforge.scheduler.main import main

if __name__ == "__main__":
    main()

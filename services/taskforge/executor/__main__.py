"""`python -m taskforge.executor`."""

from taskforge.runtime.lean import lean_imports

with lean_imports():
    from taskforge.executor.main import main

if __name__ == "__main__":
    main()

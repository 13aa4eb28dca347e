"""`python -m taskforge.gateway`."""

from taskforge.runtime.lean import lean_imports

with lean_imports():
    from taskforge.gateway.main import main

if __name__ == "__main__":
    main()

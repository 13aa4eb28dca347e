"""`python -m taskforge.gateway`."""

from taskforge.gateway.main import main

if __name__ == "__main__":
    main()

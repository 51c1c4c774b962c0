"""`python -m jaxgen`: the command `jaxgen`."""

from jaxgen.cli import main

if __name__ == "__main__":
    main()

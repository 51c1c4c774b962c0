"""`python -m jaxgen`: the command `jaxgen`."""

from jaxgen.commands import main

if __name__ == "__main__":
    main()

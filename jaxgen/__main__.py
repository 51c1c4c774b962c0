"""`python -m jaxgen`: the command `jaxgen`."""

from jaxgen.commands.main import main

if __name__ == "__main__":
    main()

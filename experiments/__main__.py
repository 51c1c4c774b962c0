"""`python -m experiments`: lists the experiments."""

from jaxgen.commands import main

if __name__ == "__main__":
    main(["list"])

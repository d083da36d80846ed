"""`python -m batchexport` is the command `batchexport`."""

from batchexport.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m batchexport` is the command `batchexport`."""

from batchexport.cli import main

if __name__ == "__main__":
    main()

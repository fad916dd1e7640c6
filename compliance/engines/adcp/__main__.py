"""`python -m compliance.engines.adcp`: prepare the installed package for its runs, which scripts/install does."""

from .prepared import prepare_installed

if __name__ == "__main__":
    prepare_installed()

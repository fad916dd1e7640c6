"""`python -m compliance.engines.suites.adcp`: prepare the installed package, as scripts/install does."""

from compliance.engines.suites.adcp.prepared import prepare_installed

if __name__ == "__main__":
    prepare_installed()

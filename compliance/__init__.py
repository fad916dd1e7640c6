"""Decides and records; knows no HTML. Imports nothing, so that the engines run where there is no Django."""

__version__ = "0.1.0"  # of the server and of assay-runner alike

"""The program `assay-runner`: tests agents inside an organization's own network. Imports no Django.

It asks an Assay server for work, runs the engines here, and posts the reports. docs/runners.md is its manual.
"""

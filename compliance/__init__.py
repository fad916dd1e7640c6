"""Decides and records; knows no HTML. Imports nothing, so that the engines run where there is no Django."""

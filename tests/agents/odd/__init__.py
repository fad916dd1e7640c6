"""Odd agents, and what the baseline says of each: a table that tests walk.

A row is an `OddAgent`. The modules mcp and a2a have the rows of each protocol, and the parts that they are made of.
"""

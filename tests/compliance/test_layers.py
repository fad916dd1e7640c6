"""Inside compliance nobody calls up: import-linter reads the imports, and this the SQL and the names of relations."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = next(contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
LEVEL = {
    name.strip().removeprefix("compliance."): level
    for level, layer in enumerate(reversed(LAYERS))
    for name in layer.split("|")
}
TABLES = {
    model._meta.db_table: model.__module__.split(".")[1]
    for model in apps.get_app_config("compliance").get_models()
    if model.__module__.startswith("compliance.")
}
# A policy of the table of jobs is the database's to follow; and a job's own column names the monitor that caused it.
ALLOWED = {("jobs", "monitors")}


def texts(package: str) -> Iterator[tuple[str, str]]:
    """The strings of a package's modules, without their docstrings, each with its file."""
    for path in sorted((ROOT / "compliance" / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        words = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                yield str(path.relative_to(ROOT)), node.value


def statements(package: str) -> Iterator[tuple[str, str]]:
    for file, text in texts(package):
        if re.search(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|JOIN)\b", text):
            yield file, text


@pytest.mark.parametrize("package", sorted(LEVEL))
def test_the_sql_of_a_package_names_no_table_of_a_higher_one(package: str) -> None:
    above = {table for table, owner in TABLES.items() if LEVEL.get(owner, -1) > LEVEL[package]}
    found = {(file, table) for file, text in statements(package) for table in above if re.search(rf"\b{table}\b", text)}
    assert not found


def test_relations_name_no_model_of_a_higher_package() -> None:
    found = {
        (owner, target)
        for model in apps.get_app_config("compliance").get_models()
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model is not None
        for owner, target in [(model.__module__.split(".")[1], field.related_model.__module__.split(".")[1])]
        if LEVEL.get(target, -1) > LEVEL.get(owner, 99)
    }
    assert found <= ALLOWED

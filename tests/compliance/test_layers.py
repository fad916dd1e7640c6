"""SQL and foreign keys obey the order of imports: no package names a table, or a model, of one that lies above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

from tests.processes import ROOT

# Bottom up; those of one layer know nothing of each other's tables, but for runners' and webhooks', which have none.
LAYERS = [
    {"tenancy", "engines"},
    {"registry", "suites"},
    {"vault"},
    {"runs"},
    {"jobs"},
    {"runners", "webhooks", "monitors"},
    {"alerts"},
    {"reporting"},
]
HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}


def package_of(module: str) -> str:
    return module.split(".")[1]


TABLES = {
    model._meta.db_table: package_of(model.__module__) for model in apps.get_app_config("compliance").get_models()
}
# Where a statement names a table. Words alone would find English: agents, runners and suites are both.
NAMES_A_TABLE = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ONLY|REFERENCES|ON)\s+(?:ONLY\s+)?(?:public\.)?(" + "|".join(TABLES) + r")\b"
    r"|'(" + "|".join(TABLES) + r")'::regclass"
)


def above(package: str, other: str) -> bool:
    return HEIGHT[other] > HEIGHT[package] or (HEIGHT[other] == HEIGHT[package] and other != package)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module that are no docstrings, without what an f-string puts in; or a file of SQL."""
    if path.suffix == ".sql":
        yield 1, path.read_text()
        return
    tree = ast.parse(path.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(map(str, parts))


def tables_in(text: str) -> set[str]:
    return {one or other for one, other in NAMES_A_TABLE.findall(text)}


def modules(ending: str = "py") -> list[Path]:
    return [path for package in HEIGHT for path in sorted((ROOT / "compliance" / package).rglob(f"*.{ending}"))]


def test_no_sql_names_a_table_of_a_package_above() -> None:
    found = []
    for path in [*modules(), *modules("sql")]:
        relative = path.relative_to(ROOT)
        for line, text in texts(path):
            wrong = [table for table in tables_in(text) if above(relative.parts[1], TABLES[table])]
            found += [f"{relative}:{line} names {table} of {TABLES[table]}" for table in sorted(wrong)]
    assert found == []


def test_no_foreign_key_refers_to_a_package_above() -> None:
    found = []
    for model in apps.get_app_config("compliance").get_models():
        for field in model._meta.local_fields:
            if field.is_relation:
                mine, theirs = package_of(model.__module__), package_of(field.related_model.__module__)
                found += [f"{model.__name__}.{field.name}"] if above(mine, theirs) else []
    assert found == []


def test_no_late_import_or_registry_look_up_reaches_a_package_above() -> None:
    """import-linter sees imports inside functions too; not a model that is asked for by its name."""
    found = []
    for path in modules():
        relative = path.relative_to(ROOT)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_model"):
                [name] = [ast.literal_eval(argument).split(".")[-1] for argument in node.args[-1:]]
                model = apps.get_model("compliance", name)
                if above(relative.parts[1], package_of(model.__module__)):
                    found.append(f"{relative}:{node.lineno} asks for {name}")
    assert found == []


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("SELECT 1 FROM monitors m", {"monitors"}),
        ("UPDATE ONLY public.runners SET x = 1", {"runners"}),
        ("Counts agents on runners", set()),
        ("JOIN notices\n  ON true", {"notices"}),
        ("'users'::regclass", {"users"}),
    ],
)
def test_a_table_is_found_where_a_statement_names_it(text: str, tables: set[str]) -> None:
    assert tables_in(text) == tables

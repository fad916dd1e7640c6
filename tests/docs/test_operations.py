"""The table of variables in docs/operations.md is the code's."""

from __future__ import annotations

import ast
import re
from typing import Any

from tests.docs.pages import PROJECT

OPERATIONS = PROJECT / "docs" / "operations.md"
_COMPUTED = object()


def table() -> dict[str, tuple[str, str]]:
    """Each variable of the tables with its unit and its default."""
    section = OPERATIONS.read_text().split("\n## Environment\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, flags=re.MULTILINE)
    assert all(meaning.strip() for *_, meaning in rows)
    return {name: (unit.strip(), default.strip()) for name, unit, default, _ in rows}


def read_by_settings() -> dict[str, Any]:
    """Each variable that settings.py reads, with its default where that is written down as a value."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse((PROJECT / "compliance" / "settings.py").read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        of_env = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "env"
        of_function = isinstance(node.func, ast.Name) and node.func.id in ("_database", "_bounded_int")
        name = node.args[0]
        if not (of_env or of_function) or not isinstance(name, ast.Constant):
            continue
        defaults = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
        try:
            default = ast.literal_eval(defaults[0]) if defaults else _COMPUTED
        except ValueError:
            default = _COMPUTED
        found.setdefault(name.value, default)
    return found


def read_from_the_environment(file: str) -> set[str]:
    text = (PROJECT / file).read_text()
    return set(re.findall(r"""(?:environ|environment|given)\.get\(["']([A-Z_]+)["']""", text))


def test_every_variable_that_the_settings_read_is_in_the_table() -> None:
    variables = read_by_settings()
    assert {
        "SECRET_KEY",
        "DATABASE_URL",
        "DATABASE_OWNER_URL",
        "ASSAY_LEASE_SECONDS",
        "ASSAY_JOB_EXPIRES_SECONDS",
    } <= set(variables)
    assert set(variables) - set(table()) == set()


def test_every_variable_that_the_web_server_and_make_run_read_is_in_the_table() -> None:
    variables = read_from_the_environment("compliance/server.py") | read_from_the_environment("compliance/asgi.py")
    assert {"BIND", "WEB_THREADS"} <= variables
    variables |= read_from_the_environment("compliance/embedded/plan.py")
    assert "DATA_DIR" in variables
    assert variables - set(table()) == set()


def test_the_table_names_nothing_that_is_not_read() -> None:
    read = set(read_by_settings())
    for file in ("compliance/server.py", "compliance/asgi.py", "compliance/embedded/plan.py"):
        read |= read_from_the_environment(file)
    assert set(table()) - read == set()


def test_the_table_tells_the_defaults_of_the_code() -> None:
    rows = table()
    told = {name: rows[name][1] for name in read_by_settings()}
    wrong = {}
    for name, default in read_by_settings().items():
        if default is _COMPUTED or default in ("", []):
            continue
        expected = str(default).lower() if isinstance(default, bool) else str(default)
        if f"`{expected}`" not in told[name]:
            wrong[name] = (expected, told[name])
    assert wrong == {}


def test_every_number_has_a_unit_that_its_name_agrees_with() -> None:
    units = {"SECONDS": "seconds", "MINUTES": "minutes", "MONTHS": "months", "DAYS": "days"}
    for name, (unit, _) in table().items():
        suffix = name.rpartition("_")[2]
        assert unit.startswith(units.get(suffix, "")), name

"""The secrets file: credentials of agents that never leave this machine, except to the agent itself."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compliance.engines import Credential
from compliance.runners.program.allowlist import same_agent
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.token import read_private

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_UNUSABLE = re.compile(r"[^\x20-\x7e]")
_REMEDY = 'An entry is bearer = "…", basic = {username = "…", password = "…"} or header = {name = "…", value = "…"}.'
_FORMS = {"bearer": None, "basic": ("username", "password"), "header": ("name", "value")}


@dataclass(frozen=True, slots=True)
class Secrets:
    """Credentials by the agent's address, or by the name that Assay knows the credential under."""

    entries: Mapping[str, Credential] = field(default_factory=dict, repr=False)

    def for_agent(self, url: str) -> Credential | None:
        return next((c for key, c in self.entries.items() if "://" in key and same_agent(key, url)), None)

    def by_name(self, name: str) -> Credential | None:
        return self.entries.get(name) if name and "://" not in name else None

    def hidden(self) -> list[str]:
        return [secret for credential in self.entries.values() for secret in credential.hidden]


def read_secrets(file: Path | None, environment: Mapping[str, str]) -> Secrets:
    """The file's credentials, with `env:NAME` taken out of the environment. Raises Problem, which names no value."""
    if file is None:
        return Secrets()
    text = read_private(file, "secrets file", "--secrets-file", Exit.USAGE)
    try:
        data = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError):
        # Not the parser's own words: they may quote the line at fault, which may hold a secret.
        raise Problem(Exit.USAGE, f"The secrets file {file} is neither TOML nor JSON.", _REMEDY) from None
    return Secrets({key: _credential(key, entry, environment) for key, entry in data.items()})


def _credential(key: str, entry: Any, environment: Mapping[str, str]) -> Credential:
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in _FORMS:
        raise Problem(Exit.USAGE, f"The secrets file's entry {key!r} has no form that is known.", _REMEDY)
    form, given = next(iter(entry.items()))
    names = _FORMS[form]
    if names is None:
        return made("Authorization", f"Bearer {(token := _value(key, given, environment))}", (token,), key)
    if not isinstance(given, dict) or set(given) != set(names):
        raise Problem(Exit.USAGE, f"The secrets file's entry {key!r} lacks something in {form}.", _REMEDY)
    first, second = (_value(key, given[name], environment) for name in names)
    if form == "header":
        return made(first, second, (second,), key)
    pair = base64.b64encode(f"{first}:{second}".encode()).decode("ascii")
    return made("Authorization", f"Basic {pair}", (second, pair), key)


def _value(key: str, given: Any, environment: Mapping[str, str]) -> str:
    if not isinstance(given, str) or not given:
        raise Problem(
            Exit.USAGE, f"The secrets file's entry {key!r} holds an empty value, or one that is no text.", _REMEDY
        )
    if not given.startswith("env:"):
        return given
    name = given.removeprefix("env:")
    if not environment.get(name):
        remedy = "Set it for this program, or write the value into the file."
        raise Problem(
            Exit.USAGE, f"The secrets file's entry {key!r} wants {name} of the environment, which is not set.", remedy
        )
    return environment[name]


def made(header: str, value: str, secrets: tuple[str, ...], key: str) -> Credential:
    """A credential that HTTP can carry. Raises Problem, which names no value."""
    if not _NAME.fullmatch(header) or _UNUSABLE.search(value) or value != value.strip():
        what = f"The credential {key!r} cannot be sent: it holds a line break or a character that no header may hold."
        raise Problem(Exit.USAGE, what, "Check that the value was copied whole, without what stands around it.")
    return Credential(header, value, secrets, name="" if "://" in key else key)

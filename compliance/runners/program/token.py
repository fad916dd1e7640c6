"""The runner's token: out of a file or the environment, never off the command line, which everybody can see."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from compliance.runners.program.problems import Exit, Problem

log = logging.getLogger(__name__)

VARIABLE = "ASSAY_RUNNER_TOKEN"
_TOKEN = re.compile(r"asr_[A-Za-z0-9_-]{8}_[A-Za-z0-9_-]{43}")
_REMEDY = "Create a runner in Assay under Runners, and put the token that it shows once into the file."
_REMEDY_DAMAGED = (
    "Copy it again. When it is no longer shown, an owner or admin of the organization can give the runner a new one in"
    " Assay, under Runners."
)


def read_token(file: Path | None, environment: Mapping[str, str]) -> str:
    """The token. Raises Problem; warns when others may read the file."""
    if file is not None:
        text, where = read_private(file, "token file", "--token-file", Exit.TOKEN), f"The token file {file}"
    else:
        text, where = environment.get(VARIABLE, ""), VARIABLE
        if not text.strip():
            raise Problem(Exit.TOKEN, f"There is no token: neither --token-file nor {VARIABLE} is given.", _REMEDY)
    token = text.strip()
    if not token:
        raise Problem(Exit.TOKEN, f"{where} is empty.", _REMEDY)
    if token.startswith("ask_"):
        raise Problem(Exit.TOKEN, f"{where} holds an organization's API key and no runner's token.", _REMEDY)
    if not token.startswith("asr_"):
        raise Problem(Exit.TOKEN, f"{where} holds no runner's token: those begin with asr_ and are one line.", _REMEDY)
    if not _TOKEN.fullmatch(token):  # not a word of it is shown: it may be another secret
        raise Problem(
            Exit.TOKEN,
            f"{where} holds a runner's token that was cut or altered: it has {len(token)} characters. A token is asr_,"
            " 8 characters, _ and 43 characters (letters of A to Z or a to z, digits, - or _), alone in one line.",
            _REMEDY_DAMAGED,
        )
    return token


def read_private(file: Path, what: str, option: str, exit_code: Exit) -> str:
    """The text of a file that holds secrets. Raises Problem; warns when others may read the file."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(1024 * 1024).decode("utf-8")
    except FileNotFoundError:
        raise Problem(exit_code, f"The {what} {file} does not exist.", f"Check {option}.") from None
    except OSError as error:
        remedy = "Check its permissions, and as which user the runner runs."
        raise Problem(exit_code, f"The {what} {file} cannot be read: {error.strerror}.", remedy) from None
    except UnicodeDecodeError:
        raise Problem(exit_code, f"The {what} {file} is no text.", f"Check {option}.") from None
    if open_to_others(file, mode, os.environ):
        log.warning("The %s %s is open to other users of this machine: chmod 600 %s", what, file, file)
    return text


def open_to_others(file: Path, mode: int, environment: Mapping[str, str]) -> bool:
    """Whether other users of the machine may read the file, as far as its mode tells.

    systemd gives the files of LoadCredential to its service by an access list, which looks like the right of a group,
    in a folder that nobody else may enter.
    """
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    others = stat.S_IRWXO if credentials and file.is_relative_to(credentials) else stat.S_IRWXG | stat.S_IRWXO
    return bool(mode & others)

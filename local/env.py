"""``.env``: written once, private, and checked key by key; ``python -m local.env`` writes what describes it."""

import difflib
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from src.config import PROJECT
from src.core.signature import public_half
from src.errors import ConfigError
from src.settings import StackSettings, name_problems

ENV = PROJECT / ".env"
ENV_EXAMPLE = PROJECT / ".env_example"
DOCS = PROJECT / "docs" / "settings.md"
FIELDS = {name.upper(): field for name, field in StackSettings.model_fields.items()}

_ABOUT = """\
Settings of the whole stack. `make up` and `make env` write .env with first values; every key must stand there.
On one machine and in containers the same keys serve; the last part is for containers alone.
"""


def write_env() -> bool:
    """Write ``.env`` (mode 600) with random secrets where there is none; says whether it did."""
    if ENV.exists():
        return False
    temporary = ENV.with_name(".env.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(render_env(_make_firsts({})))
    temporary.rename(ENV)
    return True


def add_missing_keys() -> list[str]:
    """Add to an older ``.env`` the keys that it lacks, with their first values; returns them.

    A key that nobody knows may be one of them misspelt: then nothing is added that would win over its value.
    """
    known = dotenv_values(ENV)
    missing = {} if known.keys() - FIELDS.keys() else _make_firsts(known)
    if missing:
        with ENV.open("a") as file:
            file.writelines(f"\n{key}={value}" for key, value in missing.items())
            file.write("\n")
    return [*missing]


def read_env(path: Path = ENV) -> tuple[StackSettings, dict[str, str]]:
    """Return ``.env`` as settings, and as the variables that a process is given.

    Raises:
        ConfigError: names every key that is missing, unknown or wrong, or says that there is no file.

    """
    if not path.exists():
        raise ConfigError(f"there is no {path.name}; write it with: make up")
    values = {key: value or "" for key, value in dotenv_values(path).items()}
    missing = {key: f"{key} is missing" for key in FIELDS if key not in values}
    unknown = {key: f"{key} is unknown{_guess(key)}" for key in values if key not in FIELDS}
    given = {key.lower(): value for key, value in values.items() if key in FIELDS and (value or _is_required(key))}
    wrong: dict[str, str] = {}
    try:
        settings = StackSettings.model_validate(given)
    except ValidationError as error:
        wrong = name_problems(error)
    if problems := "; ".join((wrong | missing | unknown).values()):
        hint = "; make env adds missing keys" if missing and not unknown else ""
        raise ConfigError(f"{path.name}: {problems}. Each key is described in {ENV_EXAMPLE.name}{hint}")
    return settings, values


def render_env(values: dict[str, str]) -> str:
    """Return a ``.env`` with these values: each key below its sentence, each section below its title."""
    lines = [f"# {line}\n" for line in _ABOUT.splitlines()]
    for title, keys in _sections():
        lines.append(f"\n# --- {title}\n")
        for key in keys:
            lines.extend(f"# {line}\n" for line in textwrap.wrap(FIELDS[key].description or "", 118))
            lines.append(f"{key}={values[key]}\n")
    return "".join(lines)


def render_docs() -> str:
    """Return the page of the docs that lists every setting."""
    lines = [f"# Settings\n\n{_ABOUT}"]
    for title, keys in _sections():
        lines.append(f"\n## {title}\n\n| key | first value | what it is |\n|---|---|---|\n")
        lines.extend(f"| `{key}` | {_show_first(FIELDS[key])} | {_cell(FIELDS[key])} |\n" for key in keys)
    return "".join(lines)


def write_descriptions() -> None:
    """Write ``.env_example`` and the page of the docs."""
    ENV_EXAMPLE.write_text(render_env(dict.fromkeys(FIELDS, "")))
    DOCS.parent.mkdir(exist_ok=True)
    DOCS.write_text(render_docs())


def _sections() -> Iterator[tuple[str, list[str]]]:
    """List the titles and keys of the classes that the settings are declared in."""
    for section in reversed(StackSettings.__mro__):
        if keys := [name.upper() for name in section.__dict__.get("__annotations__", {}) if name.upper() in FIELDS]:
            yield (section.__doc__ or "").rstrip("."), keys


def _first(field: FieldInfo) -> object:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra["first"]


def _make_firsts(known: Mapping[str, str | None]) -> dict[str, str]:
    """Return the first values of the keys that are not ``known``; the trusted key is that of the one that signs."""
    made: dict[str, str] = {}
    for key in FIELDS.keys() - known.keys() - {"TRUSTED_KEYS"}:
        first = _first(FIELDS[key])
        made[key] = str(first() if callable(first) else first)
    if "TRUSTED_KEYS" not in known and (made.get("SIGNING_KEY") or known.get("SIGNING_KEY")):
        made["TRUSTED_KEYS"] = public_half(made.get("SIGNING_KEY") or known["SIGNING_KEY"] or "")
    return {key: made[key] for key in FIELDS if key in made}


def _show_first(field: FieldInfo) -> str:
    first = _first(field)
    return "random" if callable(first) else f"`{first}`" if first else ""


def _cell(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _is_required(key: str) -> bool:
    return _first(FIELDS[key]) != ""


def _guess(key: str) -> str:
    near = difflib.get_close_matches(key, FIELDS, 1)
    return f" (did you mean {near[0]}?)" if near else ""


if __name__ == "__main__":
    write_descriptions()

"""A new table beside the champion and the table that it learnt from: held until a person accepts what changed.

What was accepted stands in the ``meta`` of ``data.dvc``, and holds for the bytes that it was said of:

    accepted: {md5, findings, text, by, time}

Findings and text decide what may be trained on, so a release's provenance has them as content; who and when
are in the release's ``meta``.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from src.config import DATA_RULE, SplitRule
from src.core import dataset, fall, table_difference, wine
from src.core.pointer import Pointer
from src.core.release import Provenance, Release
from src.core.table_difference import Finding, TableDifference
from src.errors import DataError, IntegrityError, MissingError
from src.registry import Registry
from src.storage.workspace import Workspace

MAX_TEXT = 500  # characters: a reason, not a report; data.dvc must stay small


@dataclass(frozen=True)
class Check:
    """What a table changes beside that of the champion, whose id is None where there is nothing to compare with."""

    rows: int
    champion: str | None
    difference: TableDifference | None
    findings: tuple[Finding, ...]

    def to_text(self) -> str:
        """Return the difference as a table for a person."""
        if self.difference is None:
            return f"{self.rows} rows; there is no other table to compare them with"
        return f"beside the table of the champion {self.champion}:\n{self.difference.to_text()}"

    def summarise(self) -> str:
        """Return the difference in one line, for the table's history."""
        counts = "nothing to compare with"
        if self.difference:
            counts = f"{self.difference.added} added, {self.difference.dropped} dropped"
        return "; ".join([counts, *(finding.name for finding in self.findings)])

    def hold_unless(self, accepted: Collection[str], csv: str = "path") -> None:
        """Let the table pass where the name of every finding was accepted.

        Raises:
            DataError: it is held; the message says what for, and how it passes.

        """
        held = [finding for finding in self.findings if finding.name not in accepted]
        if held:
            names = ", ".join(finding.name for finding in held)
            command = f'make data CSV={shlex.quote(csv)} ACCEPT="{names}: why"'
            raise DataError(f"held: {'; '.join(map(str, held))}. If that is so, say why: {command}")


def check(table: pd.DataFrame, registry: Registry, workspace: Workspace, pointer: Pointer | None = None) -> Check:
    """Set a valid table, which ``pointer`` names where it was pushed already, beside that of the champion."""
    current = registry.current()
    own = tuple(table_difference.find_in_table(table, DATA_RULE))
    if current is None:
        return Check(len(table), None, None, own)
    champion = registry.load(current)
    known = champion.provenance
    if pointer and pointer.md5 == known.data["md5"] or not _speaks_of_the_same(known):
        return Check(len(table), current.id, None, own)
    try:
        old, tested = _read_tables(known, workspace)
    except (MissingError, IntegrityError, DataError) as error:
        return Check(len(table), current.id, None, (*own, Finding("nothing to compare with", str(error))))
    difference = table_difference.compare(old, table)
    findings = [*own, *table_difference.find_in_difference(difference, DATA_RULE)]
    findings += _find_fall(champion, tested, table_difference.added_rows(old, table))
    return Check(len(table), current.id, difference, tuple(findings))


def read_accepted(data: Pointer) -> list[str]:
    """Return the names of the findings that were accepted of exactly these bytes."""
    accepted = _accepted(data)
    return [str(name) for name in accepted.get("findings", ())] if accepted.get("md5") == data.md5 else []


def describe_accepted(data: Pointer) -> dict[str, Any]:
    """Return what of an acceptance is content: the findings, and why they are as they should be."""
    if not read_accepted(data):
        return {}
    accepted = _accepted(data)
    return {"accepted": {"findings": accepted["findings"], "text": accepted.get("text")}}


def name_accepted(data: Pointer) -> dict[str, Any]:
    """Return who accepted the data, and when: what is not content."""
    if not read_accepted(data):
        return {}
    accepted = _accepted(data)
    return {"data_accepted": {"by": accepted.get("by"), "time": accepted.get("time")}}


def restore_accepted(out: Mapping[str, Any]) -> Pointer:
    """Return the pointer to a release's data with what was accepted of it, from the release's provenance."""
    data = Pointer.from_out(out)
    return data.with_meta(accepted=out["accepted"] | {"md5": data.md5}) if "accepted" in out else data


def _accepted(data: Pointer) -> Mapping[str, Any]:
    accepted = data.meta.get("accepted")
    if isinstance(accepted, dict) and isinstance(accepted.get("findings"), list):
        return accepted
    return {}


def _speaks_of_the_same(known: Provenance) -> bool:
    return [feature.name for feature in known.features] == dataset.FEATURE_NAMES


def _read_tables(known: Provenance, workspace: Workspace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the champion's whole table, and the rows that it was tested on."""
    data, test = workspace.pull(Pointer.from_out(known.data), Pointer.from_out(known.test))
    file = data / wine.FILE
    if not file.is_file():
        raise IntegrityError(f"the champion's data folder lacks {wine.FILE}")
    return dataset.read(file), dataset.read(test)


def _find_fall(champion: Release, tested: pd.DataFrame, added: pd.DataFrame) -> Iterator[Finding]:
    """Yield a finding where the champion does worse on added wines that it did not learn from than when it was tested.

    Its own rule of the split says which those are, by a row's features alone.
    """
    rule = SplitRule(**champion.provenance.split)
    unseen = added[dataset.hash_rows(added, rule.salt) < rule.test_share]
    if unseen.empty:
        return
    before, now = (_answer(champion, table) for table in (tested, unseen))
    change = fall.measure(before, now, champion.provenance.classes, DATA_RULE)
    if change and change.fell:
        yield Finding(
            "figures fell",
            f"the champion's ROC_AUC is {change.now:.3f} on {len(unseen)} new wines, it was "
            f"{change.before:.3f} when tested: units, labels or their meaning changed",
        )


def _answer(champion: Release, table: pd.DataFrame) -> fall.Answers:
    _, probabilities = champion.model.predict(table[dataset.FEATURE_NAMES].to_numpy())
    return fall.Answers(table[wine.TARGET].to_numpy(), probabilities)

"""The journal: what a search has done so far, one JSON line a result, and the models it saved.

A result is written after its model, in one write: whatever the journal names is complete, and a search that was
stopped at any moment can go on from it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from src.core.experiment import TrialRecord
from src.errors import FormatError, IntegrityError, SearchError
from src.search.trials import Result, Trial

LOG = Path("logs") / "tracking_model_metrics.log"
LEADERBOARD = Path("logs") / "leaderboard.csv"
MODELS = Path("src") / "pkls"


class Journal:
    """The results under ``folder`` that belong to ``fingerprint`` (the data and the rule of this search)."""

    def __init__(self, folder: Path, fingerprint: str, resume: bool = False) -> None:
        """Open the journal; without ``resume`` the last one is set aside as ``.log.old`` and its models are removed.

        Raises:
            SearchError: ``resume``, and the journal is another search's or damaged.
            FormatError: ``resume``, and newer code wrote it.

        """
        self.log, self.models = folder / LOG, folder / MODELS
        self._fingerprint = fingerprint
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.models.mkdir(parents=True, exist_ok=True)
        if not resume:
            self._start_anew()
        self._done = {result.task: result for result in self._read()}

    @property
    def results(self) -> list[Result]:
        """Return the last result of each trial."""
        return list(self._done.values())

    def list_missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials that have no complete result here; those that failed are to be tried again."""
        return [one for one in trials if not self._holds(one)]

    def select(self, trials: Sequence[Trial]) -> list[Result]:
        """Return the results of ``trials``, as far as there are any."""
        known = [(one, self._done.get(one.task)) for one in trials]
        return [result for one, result in known if result and result.parameters == one.parameters]

    def describe(self, trials: Sequence[Trial], links: Mapping[str, str]) -> list[TrialRecord]:
        """Return the results of ``trials`` as the bucket keeps them, with the pages that ``links`` names by task."""
        return [
            self._describe(result).model_copy(update={"link": links.get(result.task)}) for result in self.select(trials)
        ]

    def add(self, result: Result, model: bytes) -> None:
        """Save the model, then write the result down."""
        if result.error is None:
            unfinished = self.models / f".{result.task}.pkl"
            unfinished.write_bytes(model)
            os.replace(unfinished, self._model_file(result.task))
        with self.log.open("ab", buffering=0) as log:
            log.write(self._describe(result).to_line())
        self._done[result.task] = result

    def _describe(self, result: Result) -> TrialRecord:
        return TrialRecord(fingerprint=self._fingerprint, **asdict(result))

    def _holds(self, trial: Trial) -> bool:
        result = self._done.get(trial.task)
        if result is None or result.error is not None or result.parameters != trial.parameters:
            return False
        return self._model_file(trial.task).is_file()

    def _model_file(self, task: str) -> Path:
        return self.models / f"{task}.pkl"

    def _start_anew(self) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        for file in self.models.glob("*.pkl"):
            file.unlink()

    def _read(self) -> list[Result]:
        content = self.log.read_bytes() if self.log.exists() else b""
        complete = content[: content.rfind(b"\n") + 1]
        if len(complete) < len(content):  # the last write was cut short by a crash: what follows must not join it
            self.log.write_bytes(complete)
        return [self._parse(number, line) for number, line in enumerate(complete.splitlines(), 1)]

    def _parse(self, number: int, line: bytes) -> Result:
        hint = "start anew, without --resume"
        try:
            found = TrialRecord.read_json(line, f"{self.log.name}: line {number}")
        except FormatError:
            raise
        except IntegrityError as error:
            raise SearchError(f"{error}; {hint}") from error
        if found.fingerprint != self._fingerprint:
            of = f"{self.log.name} is of {found.fingerprint}, these data and rule are {self._fingerprint}"
            raise SearchError(f"{of}; {hint}")
        return Result(**found.model_dump(exclude={"format", "fingerprint", "link"}))

"""The leaderboard: who leads on test, who has the smallest gap, who is best at both, and whom the search chooses."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from src.config import GRID, SEARCH_RULE
from src.core.metrics import DECIMALS
from src.search.trials import Result

RANKS = {"by_test": "best test", "by_gap": "smallest gap", "by_both": "best test less gap"}
_METRIC = SEARCH_RULE.metric


def rank(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row a result, the best in cross-validation first.

    ``by_test``, ``by_gap`` and ``by_both`` are places from 1: highest on test, smallest distance of train and test,
    and highest on test less that distance. Failed trials come last, with an ``error`` and no scores.
    """
    board = pd.DataFrame([_row(result) for result in sorted(results, key=_grid_order)])
    if f"test_{_METRIC}" not in board:
        return board
    test, gap = board[f"test_{_METRIC}"], board[f"gap_{_METRIC}"].abs()
    merits = (test, -gap, (test - gap).round(DECIMALS))
    for place, (name, merit) in enumerate(zip(RANKS, merits, strict=True), 2):
        board.insert(place, name, merit.rank(ascending=False, method="first").astype("Int64"))
    return board.sort_values(f"cv_{_METRIC}", ascending=False, kind="stable", ignore_index=True)


def choose(results: Sequence[Result], model: str) -> Result | None:
    """Return the model's best result in cross-validation, None where all failed; of equals the grid's first."""
    done = [result for result in sorted(results, key=_grid_order) if result.model == model and result.error is None]
    return max(done, key=lambda one: round(one.scores["cv"][_METRIC], SEARCH_RULE.decimals), default=None)


def format_board(board: pd.DataFrame, by: str, rows: int = 5) -> str:
    """Return the first places of the ranking ``by`` as a table of text."""
    head = board.dropna(subset=by).sort_values(by).head(rows)
    columns = [f"{part}_{_METRIC}" for part in ("test", "gap", "train", "cv")] + ["test_Accuracy", "test_F1_score"]
    shown = head[["task", *columns]].assign(parameters=head["parameters"].map(_shorten))
    return f"{RANKS[by]} ({_METRIC})\n{shown.to_string(index=False, float_format='{:.4f}'.format)}"


def format_choice(choice: Result) -> str:
    """Return the lines that put ``choice`` into ``src/config.py``."""
    parameters = repr(dict(choice.parameters)).replace("'", '"')
    return f'MODEL = "{choice.model}"\nPARAMETERS = {parameters}'


def _grid_order(result: Result) -> tuple[int, int]:
    return list(GRID).index(result.model), int(result.task.rpartition("_")[2])


def _row(result: Result) -> dict[str, Any]:
    parts = {} if result.error else {**result.scores, "gap": result.gap}
    scores = {f"{part}_{name}": value for part, of_part in parts.items() for name, value in of_part.items()}
    parameters = json.dumps(dict(result.parameters))
    return {"task": result.task, "model": result.model, **scores, "parameters": parameters, "error": result.error}


def _shorten(parameters: str) -> str:
    """Leave out what all trials have in common."""
    varied = {name for axes in GRID.values() for name, values in axes.items() if len(values) > 1}
    return " ".join(f"{name}={value}" for name, value in json.loads(parameters).items() if name in varied)

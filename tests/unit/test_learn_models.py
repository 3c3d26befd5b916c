"""The search: every trial, the same leaderboard however it was computed, and nothing lost on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import joblib
import pandas as pd
import pytest

from src import learn_models
from src.config import FIGURES, GRID, MODEL, PARAMETERS, PROJECT
from src.core import dataset
from src.core.experiment import read_search, write_search
from src.core.wine import TARGET
from src.errors import SearchError
from src.search import leaderboard
from src.search import trials as search
from src.search.journal import LEADERBOARD, LOG, MODELS, Journal
from src.search.trials import Result, Rows, Trial

COMMAND = [sys.executable, "-m", "src.learn_models"]
LIMIT = ["LogisticRegression", "--limit", "16"]


@pytest.fixture(scope="module")
def rows(data_csv: Path) -> Rows:
    return Rows.split(dataset.read(data_csv))


@pytest.fixture(scope="module", autouse=True)
def no_account() -> Iterator[None]:
    """An empty key is no key, and one that ``.env`` may hold does not replace it."""
    before = dict(os.environ)
    os.environ.update(CLEARML_API_ACCESS_KEY="", CLEARML_API_SECRET_KEY="")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def whole(data_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the leaderboard of a search in one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert learn_models.main([*LIMIT, "--jobs", "1", "--data", str(data_csv), "--into", str(folder)]) == 0
    return (folder / LEADERBOARD).read_bytes()


def make_result(task: str, cv: float, test: float, train: float) -> Result:
    scores = {"cv": cv, "test": test, "train": train}
    metrics = {side: dict.fromkeys(("Accuracy", "F1_score", "ROC_AUC"), value) for side, value in scores.items()}
    return Result(task, MODEL, {"C": 1.0}, metrics)


def test_grid_is_numbered_once_and_limited_per_model() -> None:
    trials = search.list_trials(list(GRID))
    tasks = [one.task for one in trials]
    assert len(set(tasks)) == len(tasks) > 60
    few = search.list_trials(list(GRID), 2)
    assert [one.task for one in few] == ["RFC_1", "RFC_2", "LR_1", "LR_2"]
    assert all(one in trials for one in few)


def test_unknown_model_is_named() -> None:
    with pytest.raises(SearchError, match="'SVC' is not in the grid, expected one of RandomForestClassifier"):
        search.list_trials(["SVC"])


def test_copies_of_a_wine_never_straddle_the_folds(rows: Rows) -> None:
    hashes = dataset.hash_rows(rows.train, "")
    assert hashes.duplicated().any()
    for fit, rest in rows.folds:
        assert not set(hashes.iloc[fit]) & set(hashes.iloc[rest])


def test_configured_parameters_are_the_search_s_and_give_the_recorded_figures(rows: Rows) -> None:
    (chosen,) = [one for one in search.list_trials([MODEL]) if one.parameters == PARAMETERS]
    result, _ = search.evaluate(chosen, rows)
    assert result.error is None
    for side, figures in FIGURES.items():
        # tolerance: on another processor the solver stops a step away
        assert result.scores[side] == pytest.approx(figures, abs=1e-3)


def test_test_rows_do_not_influence_the_choice(rows: Rows) -> None:
    (trial,) = search.list_trials([MODEL], 1)
    labels = rows.test[TARGET].sample(frac=1, random_state=0).to_numpy()
    shuffled = replace(rows, test=rows.test.assign(**{TARGET: labels}))
    one, other = search.evaluate(trial, rows)[0], search.evaluate(trial, shuffled)[0]
    assert one.scores["test"] != other.scores["test"]
    assert one.scores["cv"] == other.scores["cv"]


def test_combination_that_fails_or_does_not_converge_is_recorded(rows: Rows) -> None:
    good = search.list_trials([MODEL])[0]
    wrong = Trial("LR_901", MODEL, {**good.parameters, "solver": "liblinear"})
    lazy = Trial("LR_902", MODEL, {**good.parameters, "max_iter": 1})
    results = [search.evaluate(one, rows)[0] for one in (wrong, lazy, good)]
    board = leaderboard.rank(results).set_index("task")
    errors = board["error"].to_dict()
    assert "ValueError" in errors["LR_901"] and "ConvergenceWarning" in errors["LR_902"]
    assert board.index[0] == good.task and board["cv_ROC_AUC"].notna().sum() == 1
    assert leaderboard.choose(results, MODEL) == results[2]


def test_leaderboard_ranks_by_test_by_gap_and_by_both() -> None:
    results = [
        make_result("LR_1", cv=0.70, test=0.80, train=0.90),
        make_result("LR_2", cv=0.72, test=0.70, train=0.71),
        make_result("LR_3", cv=0.71, test=0.79, train=0.76),
    ]
    board = leaderboard.rank(results)
    assert board["task"].tolist() == ["LR_2", "LR_3", "LR_1"]
    places = {name: board.sort_values(name)["task"].tolist() for name in leaderboard.RANKS}
    assert places == {
        "by_test": ["LR_1", "LR_3", "LR_2"],
        "by_gap": ["LR_2", "LR_3", "LR_1"],
        "by_both": ["LR_3", "LR_1", "LR_2"],
    }


def test_equals_are_won_by_the_first_of_the_grid() -> None:
    results = [make_result("LR_10", 0.8049, 0.8, 0.9), make_result("LR_9", 0.8046, 0.7, 0.9)]
    chosen = leaderboard.choose(results, MODEL)
    assert chosen and chosen.task == "LR_9"


def test_search_on_two_processes_is_the_same_to_the_last_digit(data_csv: Path, tmp_path: Path, whole: bytes) -> None:
    command = [*COMMAND, *LIMIT, "--jobs", "2", "--data", str(data_csv), "--into", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / LEADERBOARD).read_bytes() == whole

    tasks = pd.read_csv(tmp_path / LEADERBOARD)["task"]
    assert len(tasks) == 16
    assert {file.stem for file in (tmp_path / MODELS).iterdir()} == set(tasks)
    assert {json.loads(line)["task"] for line in (tmp_path / LOG).read_text().splitlines()} == set(tasks)
    assert "16 offline session(s)" in done.stdout and "PARAMETERS = {" in done.stdout
    for heading in leaderboard.RANKS.values():
        assert heading in done.stdout
    assert "best 0." in done.stderr


def test_saved_model_has_the_leaderboard_s_figures(tmp_path: Path, rows: Rows) -> None:
    (trial,) = search.list_trials([MODEL], 1)
    result, model = search.evaluate(trial, rows)
    Journal(tmp_path, "f").add(result, model)
    loaded = joblib.load(tmp_path / MODELS / "LR_1.pkl")
    labels = loaded.predict(rows.test[dataset.FEATURE_NAMES])
    assert (labels == rows.test[TARGET]).mean() == pytest.approx(result.scores["test"]["Accuracy"], abs=1e-6)


def test_interrupted_search_keeps_what_is_done_and_goes_on_from_there(
    data_csv: Path, tmp_path: Path, whole: bytes
) -> None:
    options = [*LIMIT, "--jobs", "2", "--data", str(data_csv), "--into", str(tmp_path)]
    with subprocess.Popen(
        [*COMMAND, *options],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        wait_for_lines(tmp_path / LOG, 2, running)
        os.killpg(running.pid, signal.SIGINT)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 130 and "--resume" in errors and "Traceback" not in errors, errors
    done = (tmp_path / LOG).read_text().splitlines()
    assert 2 <= len(done) < 16
    assert f"{len(done)} result(s)" in output and f"{len(done)} offline session(s)" in output

    assert learn_models.main([*options, "--jobs", "1", "--resume"]) == 0
    lines = (tmp_path / LOG).read_text().splitlines()
    assert lines[: len(done)] == done and len(lines) == 16
    assert (tmp_path / LEADERBOARD).read_bytes() == whole
    assert len(list((tmp_path / "logs" / "clearml" / "offline").glob("*.zip"))) == 16


def test_a_bucket_that_takes_nothing_is_told_and_loses_nothing(
    data_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (trial,) = search.list_trials([MODEL], 1)
    journal = Journal(tmp_path, "f")
    journal.add(Result(trial.task, MODEL, trial.parameters, error="ValueError"), b"")
    records = journal.describe([trial], {trial.task: "https://app.clear.ml/task"})
    learn_models.publish(records)
    assert capsys.readouterr() == ("", "")  # no bucket is named
    for name, value in {"BUCKET": "b-1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_REGION": "r"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    learn_models.publish(records)
    told = capsys.readouterr().err
    assert told.startswith("learn_models: the bucket did not take the results: ") and "--resume" in told
    assert len(told.splitlines()) == 1
    assert read_search(write_search(records), "there") == records
    assert records[0].link == "https://app.clear.ml/task"


def test_logbook_survives_a_torn_line_and_a_lost_model(tmp_path: Path) -> None:
    trials = search.list_trials([MODEL], 3)
    journal = Journal(tmp_path, "f")
    for one in trials:
        journal.add(Result(one.task, one.model, one.parameters), b"model")
    log = tmp_path / LOG
    log.write_bytes(log.read_bytes()[:-10])
    (tmp_path / MODELS / "LR_1.pkl").unlink()

    journal = Journal(tmp_path, "f", resume=True)
    assert [one.task for one in journal.list_missing(trials)] == ["LR_1", "LR_3"]
    journal.add(Result("LR_3", MODEL, trials[2].parameters), b"model")
    assert [json.loads(line)["task"] for line in log.read_text().splitlines()] == ["LR_1", "LR_2", "LR_3"]


def test_logbook_tries_failed_and_changed_combinations_again(tmp_path: Path) -> None:
    failed, changed, done = search.list_trials([MODEL], 3)
    journal = Journal(tmp_path, "f")
    journal.add(Result(failed.task, MODEL, failed.parameters, error="ValueError"), b"")
    (tmp_path / MODELS / f"{failed.task}.pkl").write_bytes(b"of an earlier attempt")
    journal.add(Result(changed.task, MODEL, {"C": 7}), b"model")
    journal.add(Result(done.task, MODEL, done.parameters), b"model")
    again = Journal(tmp_path, "f", resume=True)
    assert again.list_missing([failed, changed, done]) == [failed, changed]
    assert [result.task for result in again.select([failed, changed, done])] == [failed.task, done.task]


def test_logbook_of_other_data_is_not_resumed(tmp_path: Path) -> None:
    (one,) = search.list_trials([MODEL], 1)
    Journal(tmp_path, "old").add(Result(one.task, MODEL, one.parameters), b"model")
    with pytest.raises(SearchError, match="start anew, without --resume"):
        Journal(tmp_path, "new", resume=True)
    assert Journal(tmp_path, "new").results == []
    assert (tmp_path / LOG).with_suffix(".log.old").exists() and not list((tmp_path / MODELS).iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["SVC"], "'SVC' is not in the grid"),
        (["--backend", "dask"], "--backend dask needs --scheduler"),
        (["--data", "no.csv"], "no.csv is missing; without --data the table is that of data.dvc"),
    ],
)
def test_wrong_option_is_told_before_any_work(
    options: list[str], message: str, data_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn_models.main(["--data", str(data_csv), "--into", str(tmp_path), *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def wait_for_lines(file: Path, count: int, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not file.exists() or len(file.read_bytes().splitlines()) < count:
        assert running.poll() is None and time.monotonic() < deadline, "the search has not got so far"
        time.sleep(0.02)

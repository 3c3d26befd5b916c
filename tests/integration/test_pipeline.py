"""The six steps on a real bucket: what they ship, what they refuse, and that they share nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src import dataset, metrics, models, pipeline, registry, release
from src.bucket import Bucket
from src.config import MODEL, PARAMETERS, PROJECT, SPLIT, Split
from src.errors import DataError, IntegrityError, MissingError, RegistryError, StoreError
from src.pointer import Pointer
from src.wine import TARGET
from tests.conftest import committed_data, new_bucket, push_data
from tests.releases import make_release
from tests.services import Service

RUN_STEP = "import json, sys; from src import pipeline; print(json.dumps(eval(sys.argv[1])))"


def run_pipeline() -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "src.pipeline"], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def sides_of(pointer: Pointer, bucket: Bucket) -> dict[str, Any]:
    provenance = registry.load(bucket, pointer).provenance
    return {side: {"outs": [dict(getattr(provenance, side))]} for side in ("train", "test")}


def test_the_first_run_promotes_and_the_second_finds_the_same_bytes(
    bucket: Bucket, data_in_bucket: Pointer
) -> None:
    assert data_in_bucket.md5 == committed_data().md5
    first = run_pipeline()
    assert first.returncode == 0, first.stderr
    champion = registry.current(bucket)
    assert champion and f"champion: nothing → {champion.id}" in first.stdout
    second = run_pipeline()
    assert f"same bytes as the champion {champion.id}" in second.stdout
    assert "update_model  skipped" in second.stdout
    assert registry.current(bucket) == champion
    assert len(registry.history(bucket)) == 1


def test_each_step_runs_in_a_process_and_folder_of_its_own(data_in_bucket: Pointer, tmp_path: Path) -> None:
    def step(call: str) -> Any:
        home = tmp_path / call.partition("(")[0]
        home.mkdir()
        env = os.environ | {"TMPDIR": str(home), "HOME": str(home), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", RUN_STEP, f"pipeline.{call}"]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not list(home.glob("wine-*"))
        return json.loads(done.stdout)

    data = step("pull_data()")
    sides = step(f"prepare_data({data})")
    challenger = step(f"train_model({data}, {sides}, {{'run_id': 'r'}})")
    tested = step(f"test_model({challenger}, {sides})")
    decision = step(f"check_metrics({tested}, {sides})")
    assert step(f"update_model({tested}, {decision}, 'r')")["release"] == Pointer.from_dict(tested).id


def test_equal_input_gives_equal_bytes_whoever_runs_it(bucket: Bucket, trained: list[Pointer]) -> None:
    again = make_release(committed_data(), {})
    assert again.md5 == trained[0].md5
    assert make_release(committed_data(), {"C": 0.5}).md5 == trained[1].md5 != again.md5


def test_what_is_tested_is_what_is_served(bucket: Bucket, trained: list[Pointer], data_csv: Path) -> None:
    shipped = registry.load(bucket, trained[1])
    _, test = dataset.split(dataset.read(data_csv), SPLIT)
    labels, probabilities = shipped.model.predict(test[dataset.FEATURE_NAMES].to_numpy())
    assert shipped.metrics["test"] == metrics.score(test[TARGET].to_numpy(), labels, probabilities, (3, 4, 5, 6, 7, 8))


def test_scores_come_from_the_file_and_not_from_a_model_in_memory(
    bucket: Bucket, trained: list[Pointer], data_csv: Path
) -> None:
    train, _ = dataset.split(dataset.read(data_csv), SPLIT)
    nearly_constant = models.export(models.fit(MODEL, {**PARAMETERS, "C": 1e-5}, train))
    with pipeline.open_workspace(bucket) as workspace:
        (folder,) = workspace.pull(trained[0])
        for name in (release.MODEL_FILE, release.METRICS_FILE):
            (folder / name).unlink()
        (folder / release.MODEL_FILE).write_bytes(nearly_constant)
        (swapped,) = workspace.push(folder)
    pointer = Pointer.from_dict(pipeline.test_model(swapped.to_dict(), sides_of(trained[0], bucket)))
    tested = registry.load(bucket, pointer)
    assert tested.metrics["test"]["Accuracy"] < registry.load(bucket, trained[0]).metrics["test"]["Accuracy"] - 0.1


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    registry.promote(bucket, worse, "first", "test", {})
    sides = sides_of(trained[0], bucket)
    decision = pipeline.check_metrics(trained[0].to_dict(), sides)
    assert decision["promote"], decision["reason"]
    assert decision["metrics"]["champion"] == registry.load(bucket, worse).metrics["test"]
    assert pipeline.update_model(trained[0].to_dict(), decision, "test")["replaced"] == worse.id
    decision = pipeline.check_metrics(worse.to_dict(), sides)
    assert not decision["promote"]
    with pytest.raises(RegistryError, match="not to be promoted"):
        pipeline.update_model(worse.to_dict(), decision, "test")


def test_update_model_may_be_retried(bucket: Bucket, trained: list[Pointer]) -> None:
    decision = pipeline.check_metrics(trained[0].to_dict(), sides_of(trained[0], bucket))
    once = pipeline.update_model(trained[0].to_dict(), decision, "test")
    assert pipeline.update_model(trained[0].to_dict(), decision, "test") == once
    assert len(registry.history(bucket)) == 1


def test_a_champion_that_changed_since_the_comparison_is_not_replaced(
    bucket: Bucket, trained: list[Pointer]
) -> None:
    decision = pipeline.check_metrics(trained[0].to_dict(), sides_of(trained[0], bucket))
    registry.promote(bucket, trained[1], "by hand", "somebody", {})
    with pytest.raises(RegistryError, match=f"champion is {trained[1].id}, None was compared"):
        pipeline.update_model(trained[0].to_dict(), decision, "test")


def test_a_release_that_was_rolled_back_does_not_return_by_itself(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    registry.promote(bucket, worse, "first", "test", {})
    registry.promote(bucket, trained[0], "better", "test", {})
    registry.rollback(bucket, None, "somebody")
    decision = pipeline.check_metrics(trained[0].to_dict(), sides_of(trained[0], bucket))
    assert not decision["promote"]
    assert f"registry promote {trained[0].id}" in decision["reason"]


def test_a_champion_is_never_scored_on_rows_it_was_trained_on(
    bucket: Bucket, trained: list[Pointer], data_csv: Path
) -> None:
    registry.promote(bucket, trained[0], "first", "test", {})
    other = Split(salt="another", test_share=0.5)
    challenger = make_release(committed_data(), {}, other)
    scores = pipeline.check_metrics(challenger.to_dict(), sides_of(challenger, bucket))["metrics"]
    table = dataset.read(data_csv)
    fresh = table[
        (dataset.hash_rows(table, other.salt) < other.test_share)
        & (dataset.hash_rows(table, SPLIT.salt) < SPLIT.test_share)
    ]
    champion = registry.load(bucket, trained[0])
    labels, probabilities = champion.model.predict(fresh[dataset.FEATURE_NAMES].to_numpy())
    expected = metrics.score(fresh[TARGET].to_numpy(), labels, probabilities, champion.provenance.classes)
    assert scores["champion"] == expected


def bad_tables() -> list[tuple[str, Callable[[str], str], str]]:
    """Return name, change and the words of the refusal."""
    return [
        ("missing column", lambda text: text.replace(",pH,", ",", 1), "pH"),
        ("renamed column", lambda text: text.replace("alcohol", "ethanol", 1), "alcohol"),
        ("text in a number", lambda text: text.replace("7.4", "seven", 1), "line 2, column 'fixed acidity': 'seven'"),
        ("empty file", lambda text: "", "is empty"),
        ("new class", lambda text: text.replace("9.4,5\n", "9.4,9\n", 1), "line 2, column 'quality': '9'"),
        ("out of range", lambda text: text.replace("3.51", "35.1", 1), "line 2, column 'pH': '35.1'"),
    ]


@pytest.mark.parametrize(("change", "words"), [pytest.param(*case[1:], id=case[0]) for case in bad_tables()])
def test_bad_data_fails_at_pull_data_and_the_champion_stays(
    bucket: Bucket, trained: list[Pointer], data_csv: Path, tmp_path: Path, change: Callable[[str], str], words: str
) -> None:
    registry.promote(bucket, trained[0], "first", "test", {})
    bad = tmp_path / "bad.csv"
    bad.write_text(change(data_csv.read_text()))
    pointer_file = tmp_path / "data.dvc"
    pointer_file.write_text(push_data(bucket, bad).to_yaml())
    with pytest.raises(DataError, match=words):
        pipeline.pull_data(pointer_file)
    champion = registry.current(bucket)
    assert champion and champion.md5 == trained[0].md5


def test_data_that_nobody_pushed_is_named_with_its_mend(bucket: Bucket) -> None:
    with pytest.raises(MissingError, match="lacks dvc/files/md5.*make data"):
        pipeline.pull_data()


def test_altered_data_is_refused(bucket: Bucket, trained: list[Pointer]) -> None:
    (key,) = [key for key in bucket.list("dvc/") if len(bucket.get(key)) > 90_000]
    bucket.put(key, bucket.get(key).replace(b"7.4", b"4.7", 1))
    with pytest.raises(IntegrityError, match="altered"):
        pipeline.pull_data()


@pytest.mark.parametrize("step", pipeline.STEPS)
def test_every_step_fails_while_the_store_is_away(
    bucket: Bucket, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    data, tested, sides = committed_data().to_dict(), trained[0].to_dict(), sides_of(trained[0], bucket)
    decision = pipeline.check_metrics(tested, sides)
    calls: dict[str, Callable[[], Any]] = {
        "pull_data": pipeline.pull_data,
        "prepare_data": lambda: pipeline.prepare_data(data),
        "train_model": lambda: pipeline.train_model(data, sides, {}),
        "test_model": lambda: pipeline.test_model(tested, sides),
        "check_metrics": lambda: pipeline.check_metrics(tested, sides),
        "update_model": lambda: pipeline.update_model(tested, decision, "test"),
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="does not answer"):
        calls[step]()
    assert registry.current(bucket) is None


def test_a_run_without_the_store_is_one_line_and_an_exit_code(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = run_pipeline()
    assert done.returncode == 1
    assert done.stderr.startswith("pipeline: the store does not answer")
    assert len(done.stderr.splitlines()) == 1


def test_a_run_goes_on_after_the_store_returns(
    own_store: Service, data_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(own_store, monkeypatch)
    data = push_data(bucket, data_csv).to_dict()
    sides = pipeline.prepare_data(data)
    own_store.stop()
    with pytest.raises(StoreError):
        pipeline.train_model(data, sides, {})
    own_store.start()
    tested = pipeline.test_model(pipeline.train_model(data, sides, {}), sides)
    decision = pipeline.check_metrics(tested, sides)
    assert pipeline.update_model(tested, decision, "test")["release"] == Pointer.from_dict(tested).id

"""The six steps on a real bucket: what they ship, what they reject, and that they share nothing else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.config import MODEL, PARAMETERS, PROJECT, SPLIT, SplitRule
from src.core import dataset, metrics, models, release
from src.core.pointer import Pointer, Split
from src.core.wine import TARGET
from src.errors import DataError, IntegrityError, MissingError, RegistryError, StoreError
from src.pipeline import steps
from src.pipeline.run import STEPS
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace
from tests.conftest import committed_data, new_bucket, push_data
from tests.support.releases import make_release
from tests.support.services import Service, fill_disk, small_disk

# Calls the step named argv[1] with the plain types that XCom carries, and prints what it returns, as plain types again.
RUN_STEP = """
import json, sys
from src.core.pointer import Pointer, Split
from src.pipeline import steps
from src.pipeline.comparison import Comparison

read = {"split": Split.from_dict, "comparison": Comparison.from_dict}
pointers = ("data", "challenger", "tested")
given = {name: (read.get(name) or (Pointer.from_dict if name in pointers else dict))(value) if name != "by" else value
         for name, value in json.loads(sys.argv[2]).items()}
result = getattr(steps, sys.argv[1])(**given)
print(json.dumps(result.to_dict() if hasattr(result, "to_dict") else result.model_dump()))
"""


def run_pipeline(**variables: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | variables
    return subprocess.run(
        [sys.executable, "-m", "src.pipeline"], cwd=PROJECT, env=env, capture_output=True, text=True, check=False
    )


def split_of(pointer: Pointer, bucket: Bucket) -> Split:
    provenance = Registry(bucket).load(pointer).provenance
    return Split(Pointer.from_out(provenance.train), Pointer.from_out(provenance.test))


def test_the_first_run_promotes_and_the_second_finds_the_same_bytes(bucket: Bucket, data_in_bucket: Pointer) -> None:
    assert data_in_bucket.md5 == committed_data().md5
    first = run_pipeline()
    assert first.returncode == 0, first.stderr
    champion = Registry(bucket).current()
    assert champion and f"champion: nothing → {champion.id}" in first.stdout
    second = run_pipeline()
    assert f"same bytes as the champion {champion.id}" in second.stdout
    assert "update_model  skipped" in second.stdout
    assert Registry(bucket).current() == champion
    assert len(Registry(bucket).history()) == 1


def test_each_step_runs_in_a_process_and_folder_of_its_own(data_in_bucket: Pointer, tmp_path: Path) -> None:
    def step(name: str, **given: Any) -> Any:
        home = tmp_path / name
        home.mkdir()
        env = os.environ | {"TMPDIR": str(home), "HOME": str(home), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", RUN_STEP, name, json.dumps(given)]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not list(home.glob("wine-*"))
        return json.loads(done.stdout)

    data = step("pull_data")
    split = step("prepare_data", data=data)
    challenger = step("train_model", data=data, split=split, run={"run_id": "r"})
    tested = step("test_model", challenger=challenger, split=split)
    comparison = step("check_metrics", tested=tested, split=split)
    assert step("update_model", tested=tested, comparison=comparison, by="r")["release"] == Pointer.from_dict(tested).id


def test_a_full_disk_for_temporary_files_is_told_in_one_line_wherever_it_fills(
    bucket: Bucket, data_in_bucket: Pointer, tmp_path: Path
) -> None:
    failed = 0
    for kilobytes in (4, 200, 350):
        with small_disk(tmp_path / "small", 2):
            full = fill_disk(tmp_path / "small")
            os.truncate(full, full.stat().st_size - kilobytes * 1024)
            done = run_pipeline(TMPDIR=str(tmp_path / "small"))
            left = [path.name for path in (tmp_path / "small").iterdir() if path != full]
        if done.returncode:
            failed += 1
            last = done.stderr.splitlines()[-1]
            assert re.search("No space left on device|disk .*is full", last), done.stderr
            assert "Traceback" not in done.stderr, f"{kilobytes}: {done.stderr}"
        assert left == []
        Registry(bucket).history()
        if champion := Registry(bucket).current():
            Registry(bucket).load(champion)
    assert failed >= 2
    assert run_pipeline().returncode == 0


def test_equal_input_gives_equal_bytes_whoever_runs_it(bucket: Bucket, trained: list[Pointer]) -> None:
    again = make_release(committed_data(), {})
    assert again.md5 == trained[0].md5
    assert make_release(committed_data(), {"C": 0.5}).md5 == trained[1].md5 != again.md5


def test_what_is_tested_is_what_is_served(bucket: Bucket, trained: list[Pointer], data_csv: Path) -> None:
    shipped = Registry(bucket).load(trained[1])
    _, test = dataset.split(dataset.read(data_csv), SPLIT)
    labels, probabilities = shipped.model.predict(test[dataset.FEATURE_NAMES].to_numpy())
    assert shipped.metrics.test == metrics.score(test[TARGET].to_numpy(), labels, probabilities, (3, 4, 5, 6, 7, 8))


def test_scores_come_from_the_file_and_not_from_a_model_in_memory(
    bucket: Bucket, trained: list[Pointer], data_csv: Path
) -> None:
    train, _ = dataset.split(dataset.read(data_csv), SPLIT)
    nearly_constant = models.export(models.fit(MODEL, {**PARAMETERS, "C": 1e-5}, train))
    with open_workspace(bucket) as workspace:
        (folder,) = workspace.pull(trained[0])
        for name in (release.MODEL_FILE, release.METRICS_FILE):
            (folder / name).unlink()
        (folder / release.MODEL_FILE).write_bytes(nearly_constant)
        (swapped,) = workspace.push(folder)
    pointer = steps.test_model(swapped, split_of(trained[0], bucket))
    tested = Registry(bucket).load(pointer)
    assert tested.metrics.test["Accuracy"] < Registry(bucket).load(trained[0]).metrics.test["Accuracy"] - 0.1


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    Registry(bucket).promote(worse, "first", "test", {})
    split = split_of(trained[0], bucket)
    decision = steps.check_metrics(trained[0], split)
    assert decision.promote, decision.reason
    assert decision.metrics["champion"] == Registry(bucket).load(worse).metrics.test
    assert steps.update_model(trained[0], decision, "test").replaced == worse.id
    decision = steps.check_metrics(worse, split)
    assert not decision.promote
    with pytest.raises(RegistryError, match="not to be promoted"):
        steps.update_model(worse, decision, "test")


def test_update_model_may_be_retried(bucket: Bucket, trained: list[Pointer]) -> None:
    decision = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    once = steps.update_model(trained[0], decision, "test")
    assert steps.update_model(trained[0], decision, "test") == once
    assert len(Registry(bucket).history()) == 1


def test_a_champion_that_changed_since_the_comparison_is_not_replaced(bucket: Bucket, trained: list[Pointer]) -> None:
    decision = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    Registry(bucket).promote(trained[1], "by hand", "somebody", {})
    with pytest.raises(RegistryError, match=f"champion is {trained[1].id}, None was compared"):
        steps.update_model(trained[0], decision, "test")


def test_a_release_that_was_rolled_back_does_not_return_by_itself(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    Registry(bucket).promote(worse, "first", "test", {})
    Registry(bucket).promote(trained[0], "better", "test", {})
    Registry(bucket).rollback(None, "somebody")
    decision = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    assert not decision.promote
    assert f"registry promote {trained[0].id}" in decision.reason


def test_a_champion_is_never_scored_on_rows_it_was_trained_on(
    bucket: Bucket, trained: list[Pointer], data_csv: Path
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    other = SplitRule(salt="another", test_share=0.5)
    challenger = make_release(committed_data(), {}, other)
    scores = steps.check_metrics(challenger, split_of(challenger, bucket)).metrics
    table = dataset.read(data_csv)
    fresh = table[
        (dataset.hash_rows(table, other.salt) < other.test_share)
        & (dataset.hash_rows(table, SPLIT.salt) < SPLIT.test_share)
    ]
    champion = Registry(bucket).load(trained[0])
    labels, probabilities = champion.model.predict(fresh[dataset.FEATURE_NAMES].to_numpy())
    expected = metrics.score(fresh[TARGET].to_numpy(), labels, probabilities, champion.provenance.classes)
    assert scores["champion"] == expected


def bad_tables() -> list[tuple[str, Callable[[str], str], str]]:
    """Return name, change and the words of the rejection."""
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
    Registry(bucket).promote(trained[0], "first", "test", {})
    bad = tmp_path / "bad.csv"
    bad.write_text(change(data_csv.read_text()))
    pointer_file = tmp_path / "data.dvc"
    pointer_file.write_text(push_data(bucket, bad).to_yaml())
    with pytest.raises(DataError, match=words):
        steps.pull_data(pointer_file)
    champion = Registry(bucket).current()
    assert champion and champion.md5 == trained[0].md5


def test_data_that_nobody_pushed_is_named_with_its_repair(bucket: Bucket) -> None:
    with pytest.raises(MissingError, match="lacks dvc/files/md5.*make data"):
        steps.pull_data()


def test_altered_data_is_rejected(bucket: Bucket, trained: list[Pointer]) -> None:
    (key,) = [key for key in bucket.list("dvc/") if len(bucket.get(key)) > 90_000]
    bucket.put(key, bucket.get(key).replace(b"7.4", b"4.7", 1))
    with pytest.raises(IntegrityError, match="altered"):
        steps.pull_data()


@pytest.mark.parametrize("step", STEPS)
def test_every_step_fails_while_the_store_is_unreachable(
    bucket: Bucket, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    data, tested, split = committed_data(), trained[0], split_of(trained[0], bucket)
    decision = steps.check_metrics(tested, split)
    calls: dict[str, Callable[[], Any]] = {
        "pull_data": steps.pull_data,
        "prepare_data": lambda: steps.prepare_data(data),
        "train_model": lambda: steps.train_model(data, split, {}),
        "test_model": lambda: steps.test_model(tested, split),
        "check_metrics": lambda: steps.check_metrics(tested, split),
        "update_model": lambda: steps.update_model(tested, decision, "test"),
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="does not answer"):
        calls[step]()
    assert Registry(bucket).current() is None


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
    data = push_data(bucket, data_csv)
    split = steps.prepare_data(data)
    own_store.stop()
    with pytest.raises(StoreError):
        steps.train_model(data, split, {})
    own_store.start()
    tested = steps.test_model(steps.train_model(data, split, {}), split)
    decision = steps.check_metrics(tested, split)
    assert steps.update_model(tested, decision, "test").release == tested.id

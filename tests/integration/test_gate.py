"""The gate, on a real bucket: what is not better beyond chance, lacks a class or has another contract is held."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from src.config import PROMOTION_RULE
from src.core import dataset
from src.core.pointer import Pointer, Split
from src.core.wine import FILE, TARGET
from src.pipeline import gate, steps
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import committed_data, push_data
from tests.support.newcomer import set_c
from tests.support.releases import make_release
from tests.support.throwaway import Checkout, copy_project


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a committed copy of the project that a test may change."""
    folder = tmp_path / "project"
    copy_project(folder)
    for command in ("init", "add .", "-c user.name=test -c user.email=test@localhost commit -m first"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True, capture_output=True)
    return Checkout(folder)


@pytest.fixture
def champion(bucket: Bucket, trained: list[Pointer]) -> Pointer:
    """Promote the release that the configured parameters make."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    return trained[0]


def run(checkout: Checkout, *arguments: str, module: str = "src.pipeline") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    env = {name: value for name, value in os.environ.items() if name != "GIT_COMMIT"}
    return subprocess.run(command, cwd=checkout.folder, env=env, capture_output=True, text=True, check=False)


def champion_id(bucket: Bucket) -> str:
    champion = Registry(bucket).current()
    assert champion
    return champion.id


def split_of(pointer: Pointer, bucket: Bucket) -> Split:
    provenance = Registry(bucket).load(pointer).provenance
    return Split(Pointer.from_out(provenance.train), Pointer.from_out(provenance.test))


@pytest.mark.parametrize("value", [9.9, 0.3])
def test_a_change_that_chance_explains_keeps_the_champion_and_a_person_reads_why(
    bucket: Bucket, champion: Pointer, checkout: Checkout, value: float
) -> None:
    set_c(checkout, value)
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    assert champion_id(bucket) == champion.id
    lines = {line.split()[0]: line for line in reversed(done.stdout.splitlines())}
    assert "1307 to train on" in lines["prepare_data"] and "292 held out" in lines["prepare_data"]
    assert f"'C': {value}" in lines["train_model"] and "dirty, commit" in lines["train_model"]
    assert "but 292 wines cannot tell: −0.0" in lines["check_metrics"]
    assert lines["update_model"].endswith("skipped, the champion stays")
    (challenger,) = set(Registry(bucket).releases()) - {champion.id}
    meta = Registry(bucket).find(challenger).meta
    assert len(meta["git_diff"]) == 12 and f"diff {meta['git_diff']}" in lines["train_model"]


def test_a_change_of_features_is_held_until_a_person_promotes_the_new_contract(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path, tmp_path: Path
) -> None:
    module = checkout.folder / "src/core/wine.py"
    module.write_text(module.read_text().replace('    Feature("pH", "", 1.0, 7.0),\n', ""))
    table = dataset.read(data_csv).drop(columns="pH")
    (tmp_path / "new").mkdir()
    table.to_csv(tmp_path / "new" / FILE, index=False)
    (checkout.folder / "data.dvc").write_text(push_data(bucket, tmp_path / "new" / FILE).to_yaml())
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    assert "it has another contract than the champion: without pH; it is held" in done.stdout
    assert champion_id(bucket) == champion.id
    (challenger,) = set(Registry(bucket).releases()) - {champion.id}
    rejected = run(checkout, "promote", challenger[:6], module="src.registry")
    assert rejected.returncode == 1
    assert (
        "without pH" in rejected.stderr and "--new-contract" in rejected.stderr and champion_id(bucket) == champion.id
    )
    assert run(checkout, "promote", challenger[:6], "--new-contract", module="src.registry").returncode == 0
    assert champion_id(bucket) == challenger


def test_a_release_that_cannot_answer_every_class_is_held(bucket: Bucket, data_csv: Path, tmp_path: Path) -> None:
    table = dataset.read(data_csv)
    dataset.write(table[table[TARGET].between(4, 7)], tmp_path / "few.csv")
    challenger = make_release(push_data(bucket, tmp_path / "few.csv"), {})
    comparison = steps.check_metrics(challenger, split_of(challenger, bucket))
    assert not comparison.promote
    assert "it cannot answer quality 3 and 8 of src/core/wine.py" in comparison.reason


def test_the_recall_of_each_class_is_kept_and_one_that_falls_to_nothing_is_named(
    bucket: Bucket, champion: Pointer
) -> None:
    recall = Registry(bucket).load(champion).metrics.recall
    assert list(recall) == ["3", "4", "5", "6", "7", "8"] and recall["7"] > 0
    worse = make_release(committed_data(), {"C": 0.001})
    assert Registry(bucket).load(worse).metrics.recall["7"] == 0
    reason = steps.check_metrics(worse, split_of(worse, bucket)).reason
    assert f"quality 7 falls to nothing (recall {recall['7']:.2f} → 0)" in reason


def test_more_wines_promote_a_challenger_that_is_not_worse(
    bucket: Bucket, data_csv: Path, tmp_path: Path, trained: list[Pointer]
) -> None:
    fewer = dataset.read(data_csv).iloc[:-200]
    dataset.write(fewer, tmp_path / "fewer.csv")
    Registry(bucket).promote(make_release(push_data(bucket, tmp_path / "fewer.csv"), {}), "first", "test", {})
    comparison = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    assert comparison.promote, comparison.reason
    event = steps.update_model(trained[0], comparison, "test")
    assert set(event.metrics) == {"challenger", "champion", "low", "high"}


def test_test_rows_that_have_decided_too_often_are_asked_to_be_replaced(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    Registry(bucket).promote(worse, "first", "test", {})
    comparison = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    assert (comparison.promote, comparison.looks) == (True, 2)
    for number in range(PROMOTION_RULE.looks - 1):
        Registry(bucket).register(replace(trained[1], md5=f"{number:012x}".ljust(32, "0") + ".dir"))
    comparison = steps.check_metrics(trained[0], split_of(trained[0], bucket))
    assert not comparison.promote
    assert "have judged 51 releases, more than 50" in comparison.reason and "make data" in comparison.reason


def test_what_cannot_be_read_was_no_decision(bucket: Bucket, trained: list[Pointer]) -> None:
    bucket.put("registry/releases/000000000000.dvc", b"[]")
    Registry(bucket).register(trained[1])
    assert gate.count_looks(Registry(bucket), trained[0].id, [trained[1].meta["test_rows"]]) == 2

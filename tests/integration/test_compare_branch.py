"""A branch's model beside the champion, as a merge request shows it; the registry stays as it was."""

import os
import subprocess
import sys

import pytest

from src import compare_branch, metrics, registry
from src.bucket import Bucket
from src.config import PROJECT, PROMOTION_RULE
from src.errors import MissingError
from src.pointer import Pointer
from tests.releases import make_release
from tests.conftest import committed_data


def registry_of(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key) for key in bucket.list("registry/")}


def test_both_sides_their_change_and_what_differs_are_shown(bucket: Bucket, trained: list[Pointer]) -> None:
    registry.promote(bucket, trained[1], "better", "test", {})
    before = registry_of(bucket)
    text = compare_branch.compare_branch()
    branch, champion = (registry.load(bucket, pointer).metrics["test"] for pointer in trained[:2])
    assert f"| release | `{trained[0].id}` | `{trained[1].id}` | |" in text
    for name, value in branch.items():
        change = f"{value - champion[name]:+.4f}"
        assert f"| {name} | {value:.4f} | {champion[name]:.4f} | {change} |" in text
    decision = metrics.compare(branch, champion, PROMOTION_RULE)
    assert f"**The challenger would not be promoted:** {decision.reason}." in text
    assert text.endswith("| what differs | challenger | champion |\n| --- | --- | --- |\n"
                         "| parameters: C | `1.0` | `0.5` |")
    assert registry_of(bucket) == before


def test_a_better_branch_is_called_so_and_still_not_registered(bucket: Bucket, trained: list[Pointer]) -> None:
    worse = make_release(committed_data(), {"C": 0.001})
    registry.promote(bucket, worse, "first", "test", {})
    before = registry_of(bucket)
    assert "**The challenger would be promoted:** ROC_AUC rose" in compare_branch.compare_branch()
    assert registry_of(bucket) == before


def test_the_champion_itself_differs_in_nothing(bucket: Bucket, trained: list[Pointer]) -> None:
    registry.promote(bucket, trained[0], "first", "test", {})
    text = compare_branch.compare_branch()
    assert f"would not be promoted:** same bytes as the champion {trained[0].id}." in text
    assert text.endswith("\nData, parameters, split and libraries are the same.")


def test_before_the_first_promotion_there_is_nothing_beside_it(bucket: Bucket, trained: list[Pointer]) -> None:
    text = compare_branch.compare_branch()
    assert "would be promoted:** there is no champion yet." in text
    assert f"| release | `{trained[0].id}` | – | |" in text
    assert "what differs" not in text
    assert registry_of(bucket) == {}


def test_data_that_is_not_in_the_bucket_is_one_line_and_an_exit_code(bucket: Bucket) -> None:
    with pytest.raises(MissingError, match="lacks dvc/files/md5"):
        compare_branch.compare_branch()
    done = subprocess.run([sys.executable, "-m", "src.compare_branch"], cwd=PROJECT, env=os.environ,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("compare_branch: bucket ")
    assert len(done.stderr.splitlines()) == 1

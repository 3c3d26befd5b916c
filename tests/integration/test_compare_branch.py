"""A branch's model is trained and compared on a real bucket; the registry stays as it was."""

import os
import subprocess
import sys

from src.config import PARAMETERS, PROJECT, PROMOTION_RULE
from src.core import metrics
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket


def registry_of(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key) for key in bucket.list("registry/")}


def compare() -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.pipeline", "compare"]
    return subprocess.run(command, cwd=PROJECT, env=os.environ, capture_output=True, text=True, check=False)


def test_both_sides_their_change_and_what_differs_are_shown(bucket: Bucket, trained: list[Pointer]) -> None:
    Registry(bucket).promote(trained[1], "better", "test", {})
    before = registry_of(bucket)
    text = compare().stdout.rstrip()
    branch, champion = (Registry(bucket).load(pointer).metrics.test for pointer in trained[:2])
    assert f"| release | `{trained[0].id}` | `{trained[1].id}` | |" in text
    for name, value in branch.items():
        change = f"{value - champion[name]:+.4f}"
        assert f"| {name} | {value:.4f} | {champion[name]:.4f} | {change} |" in text
    decision = metrics.compare(branch, champion, PROMOTION_RULE)
    verdict = "would" if decision.promote else "would not"
    assert f"**The challenger {verdict} be promoted:** {decision.reason}." in text
    assert text.endswith(
        "| what differs | challenger | champion |\n| --- | --- | --- |\n"
        f"| parameters: C | `{PARAMETERS['C']}` | `0.5` |"
    )
    assert registry_of(bucket) == before


def test_data_that_is_not_in_the_bucket_is_named_with_an_exit_code(bucket: Bucket) -> None:
    done = compare()
    assert (done.returncode, done.stdout) == (1, "")
    *_, line = done.stderr.splitlines()
    assert line.startswith(f"pipeline: bucket {bucket.name} lacks dvc/files/md5")

"""A branch's model is trained and compared on a real bucket; the registry stays as it was."""

import os
import re
import subprocess
import sys

from src.config import PARAMETERS, PROJECT
from src.core.pointer import Pointer, Split
from src.pipeline import steps
from src.registry import Registry
from src.storage.bucket import Bucket


def registry_of(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key) for key in bucket.list("registry/")}


def compare() -> "subprocess.CompletedProcess[str]":
    """Compare as a merge request does, which has no key to sign releases with."""
    command = [sys.executable, "-m", "src.pipeline", "compare"]
    env = {name: value for name, value in os.environ.items() if name != "SIGNING_KEY"}
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)


def test_both_sides_their_change_and_what_differs_are_shown(bucket: Bucket, trained: list[Pointer]) -> None:
    Registry(bucket).promote(trained[1], "better", "test", {})
    before = registry_of(bucket)
    text = compare().stdout.rstrip()
    branch, champion = (Registry(bucket).load(pointer).metrics.test for pointer in trained[:2])
    provenance = Registry(bucket).load(trained[0]).provenance
    assert f"| release | `{trained[0].id}` | `{trained[1].id}` | | |" in text
    for name, value in branch.items():
        change = f"{value - champion[name]:+.4f}"
        interval = r"[−+]0\.\d{3} to [−+]0\.\d{3}"
        row = re.escape(f"| {name} | {value:.4f} | {champion[name]:.4f} | {change} | ")
        assert re.search(rf"^{row}{interval} \|$", text, re.MULTILINE)
    split = Split(*(Pointer.from_out(out) for out in (provenance.train, provenance.test)))
    decision = steps.check_metrics(trained[0], split)
    verdict = "would" if decision.promote else "would not"
    assert f"**The challenger {verdict} be promoted:** {decision.reason}." in text
    assert "These held-out wines have judged 2 of at most 50 releases." in text
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

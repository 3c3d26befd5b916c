"""The one wiring of the six steps; the DAG binds the same functions in the same order."""

from collections.abc import Mapping
from typing import Any

from src.config import MODEL, PARAMETERS, SPLIT, SplitRule
from src.core.pointer import Pointer, Split
from src.errors import RegistryError
from src.pipeline import new_data, steps
from src.pipeline.comparison import Comparison
from src.registry import Promotion, Registry

STEPS = ("pull_data", "prepare_data", "train_model", "test_model", "check_metrics", "update_model")


def run(run_id: str) -> Promotion | None:
    """Do one whole run; returns the promotion, None where the champion stays."""
    tested, comparison = compare(run_id, register=True)
    return steps.update_model(tested, comparison, run_id) if comparison.promote else None


def compare(run_id: str, register: bool = False) -> tuple[Pointer, Comparison]:
    """Train and test this checkout's challenger and set it beside the champion; nothing is promoted."""
    data = steps.pull_data()
    tested, split = make_release(data, steps.describe_run(run_id, "train_model"), register=register)
    return tested, steps.check_metrics(tested, split, run_id if register else None)


def make_release(
    data: Pointer,
    run: Mapping[str, Any],
    model: str = MODEL,
    parameters: Mapping[str, Any] = PARAMETERS,
    rule: SplitRule = SPLIT,
    register: bool = False,
) -> tuple[Pointer, Split]:
    """Split, train and test; returns the tested release, and the split that it was made from."""
    split = steps.prepare_data(data, rule)
    challenger = steps.train_model(data, split, run, model, parameters, rule)
    return steps.test_model(challenger, split, register), split


def reproduce(registry: Registry, pointer: Pointer) -> Pointer:
    """Train a release again from what it records, and return the pointer of what came out, which has the same bytes.

    Raises:
        RegistryError: it has others; the message says which libraries changed.

    """
    recorded = registry.load(pointer).provenance
    data, rule = new_data.restore_accepted(recorded.data), SplitRule(**recorded.split)
    again, _ = make_release(data, {}, model=recorded.model, parameters=recorded.parameters, rule=rule)
    if again.md5 != pointer.md5:
        now = registry.load(again).provenance.libraries
        before = recorded.libraries
        changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
        why = f"the libraries changed: {', '.join(changed)}" if changed else "the code or the processor changed"
        files = ", ".join(_list_different(registry, again, pointer))
        raise RegistryError(f"training again gave {again.md5}, the release is {pointer.md5}; {files} differ: {why}")
    return again


def _list_different(registry: Registry, one: Pointer, other: Pointer) -> list[str]:
    files, others = (dict(registry.bucket.read_files(pointer)) for pointer in (one, other))
    return [name for name in sorted(files | others) if files.get(name) != others.get(name)]

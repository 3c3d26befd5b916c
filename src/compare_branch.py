"""A branch's model beside the champion, as Markdown for its merge request: ``python -m src.compare_branch``.

The challenger is trained and tested by the pipeline's own steps, from the data, parameters and code of this checkout;
it is neither registered nor promoted.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from src import cli, pipeline, registry
from src.bucket import Bucket
from src.pointer import Pointer
from src.release import Provenance

NOTHING = "–"


def compare_branch() -> str:
    """Train and test this checkout's challenger, compare it with the champion, and return the comparison.

    Raises:
        StackError: as the pipeline's steps do.

    """
    bucket = Bucket.from_environment()
    data = pipeline.pull_data()
    sides = pipeline.prepare_data(data)
    tested = pipeline.test_model(pipeline.train_model(data, sides, {}), sides)
    decision = pipeline.compare_with_champion(tested, sides)
    ours = registry.load(bucket, Pointer.from_dict(tested)).provenance
    champion = decision["champion"]
    theirs = registry.load(bucket, registry.find(bucket, champion)).provenance if champion else None
    return to_markdown(decision, ours, theirs)


def to_markdown(decision: Mapping[str, Any], ours: Provenance, theirs: Provenance | None) -> str:
    """Return the verdict, both sides' metrics on the same test rows, and what differs between the two."""
    verdict = "would be promoted" if decision["promote"] else "would not be promoted"
    ids = [f"`{decision[side]}`" if decision[side] else NOTHING for side in ("release", "champion")]
    lines = [
        "## This branch's model beside the champion", "",
        f"**The challenger {verdict}:** {decision['reason']}.", "",
        *_table("", "challenger", "champion", "change"),
        f"| release | {ids[0]} | {ids[1]} | |",
        *_metric_rows(decision["metrics"]), "",
    ]
    if theirs is not None:
        differences = list(_differences(ours, theirs))
        table = [*_table("what differs", "challenger", "champion"), *differences]
        lines += table if differences else ["Data, parameters, split and libraries are the same."]
    return "\n".join(lines)


def _metric_rows(scores: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    champion = scores.get("champion", {})
    for name, value in scores["challenger"].items():
        if name in champion:
            yield f"| {name} | {value:.4f} | {champion[name]:.4f} | {value - champion[name]:+.4f} |"
        else:
            yield f"| {name} | {value:.4f} | {NOTHING} | |"


def _differences(ours: Provenance, theirs: Provenance) -> Iterator[str]:
    mine, other = _describe(ours), _describe(theirs)
    for name in sorted(mine.keys() | other.keys()):
        left, right = mine.get(name, NOTHING), other.get(name, NOTHING)
        if left != right:
            yield f"| {name} | {left} | {right} |"


def _describe(provenance: Provenance) -> dict[str, str]:
    """Return what a person may change about a release, by name."""
    content = asdict(provenance)
    described = {"model": provenance.model, "data": str(provenance.data["md5"])}
    for group in ("parameters", "split", "libraries"):
        described |= {f"{group}: {name}": str(value) for name, value in content[group].items()}
    return {name: f"`{value}`" for name, value in described.items()}


def _table(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]


def main() -> int:
    """Print the comparison; returns the exit code, which says nothing about the verdict."""
    return cli.run("compare_branch", lambda: print(compare_branch()))


if __name__ == "__main__":
    sys.exit(main())

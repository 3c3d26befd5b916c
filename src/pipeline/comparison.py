"""The challenger beside the champion: the decision, the figures, and what differs between the two."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from src.config import PROMOTION_RULE
from src.core import wine
from src.core.metrics import Interval, Metrics
from src.core.release import Provenance
from src.core.run_decision import RunDecision

NOTHING = "–"


@dataclass(frozen=True)
class Comparison:
    """Whether to promote the challenger, and why; ``metrics`` of "challenger" and "champion" are of the same test rows.

    ``champion`` is None before the first promotion. What was not compared has no metrics of the champion, and no
    ``intervals`` of the differences. ``looks`` says how many releases these test rows have judged, this one included;
    ``replay`` what a better challenger would have answered of the logged traffic.
    """

    promote: bool
    reason: str
    release: str
    champion: str | None
    metrics: Mapping[str, Metrics]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    looks: int = 1
    replay: Mapping[str, Metrics] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Comparison":
        """Read what :meth:`to_dict` made."""
        intervals = {name: Interval(*bounds) for name, bounds in content.get("intervals", {}).items()}
        return cls(**{**content, "intervals": intervals})

    def list_figures(self) -> dict[str, Metrics]:
        """Return both sides' metrics, the ends "low" and "high" of the differences, and the replay, for the event."""
        ends = {end: {name: getattr(one, end) for name, one in self.intervals.items()} for end in Interval._fields}
        return {**self.metrics, **(ends if self.intervals else {}), **self.replay}

    def to_decision(self, run_id: str, time: datetime) -> RunDecision:
        """Return what the bucket keeps of it."""
        told = {name: getattr(self, name) for name in ("promote", "reason", "release", "champion", "looks")}
        return RunDecision(time=time, run=run_id, metrics=self.list_figures(), **told)

    def to_text(self) -> str:
        """Return both sides' metrics and what chance allows as a table for a terminal or a log."""
        lines = [f"{'':14}{'challenger':>12}{'champion':>12}   {'difference' if self.intervals else ''}".rstrip()]
        for name, mine, theirs in self._rows():
            beside = f"{'-':>12}" if theirs is None else f"{theirs:12.4f}   {self.intervals.get(name, '')}"
            lines.append(f"  {name:12}{mine:12.4f}{beside}".rstrip())
        return "\n".join([*lines, *([self._tell_looks()] if self.intervals else [])])

    def to_markdown(self, ours: Provenance, theirs: Provenance | None, code: str | None = None) -> str:
        """Return the verdict, both sides' metrics, and what differs between the two releases, for a merge request.

        ``code`` says of what code this release is, where that is not committed.
        """
        verdict = "would be promoted" if self.promote else "would not be promoted"
        champion = f"`{self.champion}`" if self.champion else NOTHING
        lines = [
            "## This branch's model beside the champion",
            "",
            f"**The challenger {verdict}:** {self.reason}.",
            "",
            *([f"Its code is {code}.", ""] if code else []),
            *_table("", "challenger", "champion", "change", "interval"),
            f"| release | `{self.release}` | {champion} | | |",
        ]
        for name, mine, other in self._rows():
            beside = f"{NOTHING} | |" if other is None else f"{other:.4f} | {mine - other:+.4f} |"
            lines.append(f"| {name} | {mine:.4f} | {beside} {self.intervals.get(name, '')} |".replace("  |", " |"))
        lines += ["", *([f"{self._tell_looks()}.", ""] if self.intervals else [])]
        if theirs is not None:
            differences = list(_differences(ours, theirs))
            table = [*_table("what differs", "challenger", "champion"), *differences]
            lines += table if differences else ["Data, parameters, split and libraries are the same."]
        return "\n".join(lines)

    def _tell_looks(self) -> str:
        return f"These held-out {wine.NAME}s have judged {self.looks} of at most {PROMOTION_RULE.looks} releases"

    def _rows(self) -> Iterator[tuple[str, float, float | None]]:
        champion = self.metrics.get("champion", {})
        for name, value in self.metrics["challenger"].items():
            yield name, value, champion.get(name)


def _differences(ours: Provenance, theirs: Provenance) -> Iterator[str]:
    mine, other = _describe(ours), _describe(theirs)
    for name in sorted(mine.keys() | other.keys()):
        left, right = mine.get(name, NOTHING), other.get(name, NOTHING)
        if left != right:
            yield f"| {name} | {left} | {right} |"


def _describe(provenance: Provenance) -> dict[str, str]:
    """Return what a person may change about a release, by name."""
    described = {"model": provenance.model, "data": str(provenance.data["md5"])}
    for group in ("parameters", "split", "libraries"):
        described |= {f"{group}: {name}": str(value) for name, value in getattr(provenance, group).items()}
    return {name: f"`{value}`" for name, value in described.items()}


def _table(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]

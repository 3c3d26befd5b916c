"""A day's figures as one HTML file, which loads nothing."""

import base64
import html
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from src.core.wine import NAME, TARGET, TITLE
from src.monitoring.figures import DayFigures, tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = "body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}pre{overflow:auto}.alarm{color:#a00}"
SIZE = (8, 4)  # inches


def write_report(day: DayFigures) -> bytes:
    """Return the report: alarms, charts, and the figures as text."""
    alarms = [f'<p class="alarm">{html.escape(alarm)}</p>' for alarm in day.alarms] or ["<p>No alarm.</p>"]
    title = html.escape(f"{TITLE}: {day.date}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>',
        f"<h1>{title}</h1>",
        f"<p>{day.wines:,} {NAME}s, {day.labelled:,} with a label; release {html.escape(day.release or 'none')}</p>",
        *alarms,
        *(f'<img alt="{html.escape(what)}" src="data:image/png;base64,{image}">' for what, image in _draw(day)),
        f"<pre>{html.escape(tell(day))}</pre></html>\n",
    ]
    return "\n".join(parts).encode()


def _draw(day: DayFigures) -> Iterator[tuple[str, str]]:
    """Yield (what it shows, PNG as base64) of each chart that the day has figures for."""
    if day.drift:
        features = day.drift.features
        bounds = {name: (one.ks - one.low, one.high - one.ks) for name, one in features.items()}
        distances = {name: one.ks for name, one in features.items()}
        yield (
            "Distance of each feature from train",
            _bars("Kolmogorov-Smirnov distance", {"the day": distances}, bounds),
        )
    if day.drift and day.drift.mix:
        both = {"test rows": day.drift.mix.expected, "the day": day.drift.mix.seen}
        yield f"Predicted {TARGET}", _bars(f"{NAME}s by predicted {TARGET}", both)
    if day.performance:
        both = {"test rows": day.test, "labelled": day.performance.metrics}
        low, high, now = day.performance.low, day.performance.high, day.performance.metrics
        bounds = {name: (now[name] - low[name], high[name] - now[name]) for name in now}
        yield "Metrics on labelled wines", _bars("metrics", both, bounds)


def _bars(
    title: str, groups: Mapping[str, Mapping[str, float]], bounds: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """Draw groups of bars; ``bounds`` are what lies below and above those of the last."""
    from matplotlib.figure import Figure  # takes half a second, which the other commands need not wait

    figure: Figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    width = 0.8 / len(groups)
    for number, (label, group) in enumerate(groups.items()):
        places = [place + number * width for place in range(len(names))]
        is_last = number == len(groups) - 1
        errors = [[max(0.0, bounds[name][end]) for name in names] for end in (0, 1)] if bounds and is_last else None
        axes.bar(places, [group.get(name, 0.0) for name in names], width, label=label, yerr=errors, capsize=3)
    axes.set_xticks(
        [place + width * (len(groups) - 1) / 2 for place in range(len(names))], names, rotation=30, ha="right"
    )
    axes.set_title(title)
    axes.legend()
    return _to_png(figure)


def _to_png(figure: "Figure") -> str:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return base64.b64encode(image.getvalue()).decode()

"""The day's figures for people: a table for a terminal, and one page with charts that needs no other file."""

import io
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from src.core.day_figures import DayFigures, Drift, Estimate
from src.core.profile import Profile
from src.core.wine import FEATURES, NAME, TARGET, TITLE
from src.monitoring.day import Day

SEEN, LIVE = "#8a8a8a", "#b3123f"
COLUMNS = 4
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } tr.drifted { color: #b3123f; font-weight: 600 }
svg { max-width: 100%; height: auto }
"""


def to_text(figures: DayFigures) -> str:
    """Return what a person reads in ten seconds."""
    return "\n".join(_tell(figures))


def to_html(day: Day) -> bytes:
    """Return the whole report; equal days give equal bytes."""
    figures = day.figures
    title = f"{TITLE}: {figures.date}"
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(_summarise(figures))}</p>", *_list_notes(figures)]
    if figures.performance and (rows := [*_list_estimates(figures)]):
        parts += ["<h2>Performance</h2>", _table(("", "live", "likely", "test rows"), rows)]
    if figures.drift and day.release and day.release.profile:
        parts += ["<h2>Drift</h2>", _drift_table(figures.drift)]
        parts += [_draw_mix(figures.drift), _draw_features(day, day.release.profile)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'.encode()


def _tell(figures: DayFigures) -> Iterator[str]:
    yield _summarise(figures)
    if figures.drift:
        yield from _tell_drift(figures.drift)
    if figures.performance and (rows := [*_list_estimates(figures)]):
        yield f"{'':20}{'live':>6}  {'likely':14}  test rows"
        yield from (f"{name:20}{value:>6}  {likely:14}  {test}" for name, value, likely, test in rows)
    if figures.guard:
        yield f"{'GUARD ' if figures.guard.is_worse else 'guard: '}{figures.guard.told}"
    yield from (f"note: {note}" for note in figures.notes)
    if figures.unread.count:
        yield f"{figures.unread.count} parts of the log could not be read:"
        yield from (f"  {told}" for told in figures.unread.told)


def _tell_drift(found: Drift) -> Iterator[str]:
    for one in found.features:
        if one.drifted:
            yield (
                f"DRIFT {one.name}: distance {one.distance:.2f} ({one.low:.2f} to {one.high:.2f}), "
                f"PSI {one.stability_index:.2f}, Wasserstein {one.wasserstein:.2f} standard deviations"
            )
    if found.mix.drifted:
        changed = sorted(found.mix.found, key=lambda label: found.mix.expected[label] - found.mix.found[label])
        yield (
            f"DRIFT predicted classes: distance {found.mix.distance:.2f}; {TARGET} "
            + ", ".join(f"{label}: {found.mix.expected[label]:.2f} → {found.mix.found[label]:.2f}" for label in changed)
        )
    if not found.alarms:
        yield f"no drift: {len(found.features)} features and the predicted classes of {found.rows} different {NAME}s"


def _summarise(figures: DayFigures) -> str:
    labelled = figures.performance.labelled if figures.performance else 0
    releases = ", ".join(f"{release} ({count})" for release, count in figures.releases.items()) or "none"
    return f"{figures.date}: {figures.rows} {NAME}s, {labelled} with a label; answered by: {releases}"


def _list_estimates(figures: DayFigures) -> Iterator[tuple[str, str, str, str]]:
    performance = figures.performance
    if performance and performance.expected_accuracy:
        yield _estimate("Accuracy, expected", performance.expected_accuracy)
    if performance:
        yield from (_estimate(name, one) for name, one in performance.measured.items())


def _estimate(name: str, one: Estimate) -> tuple[str, str, str, str]:
    return name, f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}", "–" if one.test is None else f"{one.test:.3f}"


def _list_notes(figures: DayFigures) -> list[str]:
    told = [
        *([figures.guard.told] if figures.guard else []),
        *figures.notes,
        *(f"not read: {one}" for one in figures.unread.told),
    ]
    if (more := figures.unread.count - len(figures.unread.told)) > 0:
        told.append(f"not read: {more} more")
    return [f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in told)}</ul>"] if told else []


def _drift_table(found: Drift) -> str:
    rows = [
        (
            one.name,
            f"{one.distance:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.stability_index:.3f}",
            f"{one.wasserstein:.3f}",
            f"{one.p:.3f}",
        )
        for one in found.features
    ]
    mix = found.mix
    rows.append(("predicted classes", f"{mix.distance:.3f}", "", f"χ² {mix.chi_square:.1f}", "", f"{mix.p:.3f}"))
    marks = [*(one.drifted for one in found.features), mix.drifted]
    return _table(("", "distance", "likely", "PSI", "Wasserstein", "chance"), rows, marks)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], marks: Sequence[bool] | None = None) -> str:
    def line(cells: tuple[str, ...], kind: str) -> str:
        return "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells)

    classes = [' class="drifted"' if marked else "" for marked in marks or [False] * len(rows)]
    body = "".join(f"<tr{one}>{line(row, 'td')}</tr>" for one, row in zip(classes, rows, strict=True))
    return f"<table><tr>{line(head, 'th')}</tr>{body}</table>"


def _draw_mix(found: Drift) -> str:
    figure = Figure(figsize=(6, 2.8))
    figure.subplots_adjust(bottom=0.2)
    axes, places = figure.subplots(), np.arange(len(found.mix.found))
    axes.bar(places - 0.2, [*found.mix.expected.values()], 0.4, color=SEEN, label="test rows")
    axes.bar(places + 0.2, [*found.mix.found.values()], 0.4, color=LIVE, label="live")
    axes.set_xticks(places, [*found.mix.found])
    axes.set(xlabel=f"predicted {TARGET}", ylabel="share")
    axes.legend(frameon=False)
    return _to_svg(figure)


def _draw_features(day: Day, profile: Profile) -> str:
    live = day.wines.drop_copies().values
    rows = -(-len(FEATURES) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.3 * rows))  # a layout of its own would take seconds
    figure.subplots_adjust(0.04, 0.05, 0.99, 0.95, hspace=0.4)
    for number, (feature, seen, values) in enumerate(zip(FEATURES, profile.features, live.T, strict=True)):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        for sample, colour, name in ((np.array(seen.quantiles), SEEN, "train"), (values, LIVE, "live")):
            axes.ecdf(sample, color=colour, label=name)
        axes.set_title(feature.label, fontsize=9)
        axes.tick_params(labelsize=8)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return _to_svg(figure)


def _to_svg(figure: Figure) -> str:
    out = io.StringIO()
    with rc_context({"svg.hashsalt": NAME, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue().partition("<svg")[1] + out.getvalue().partition("<svg")[2]

"""The daily monitoring: a day is measured, and its figures and report are kept in the bucket."""

import logging
from datetime import date

from src.core.day_figures import DayFigures
from src.monitoring.day import measure_day
from src.monitoring.report import to_html, to_text
from src.registry import Registry

log = logging.getLogger(__name__)


def run(registry: Registry, day: date) -> DayFigures:
    """Measure a day (UTC) and keep what came out, in place of what an earlier run of that day found.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    measured = measure_day(registry, day)
    figures = measured.figures
    registry.bucket.put(figures.key.replace(".json", ".html"), to_html(measured))
    registry.bucket.put(figures.key, figures.to_json())  # last: who reads the figures finds the report
    for line in to_text(figures).splitlines():
        log.info("%s", line)
    return figures

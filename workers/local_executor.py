"""Airflow's LocalExecutor with the pipeline's libraries in memory (a Celery worker is told to import them)."""

from airflow.executors.local_executor import LocalExecutor


class PreloadedLocalExecutor(LocalExecutor):
    """Forks workers that share :mod:`workers.preload`."""

    def start(self) -> None:
        """Load the libraries, then fork."""
        from workers import preload  # noqa: F401

        super().start()

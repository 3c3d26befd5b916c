"""Airflow's LocalExecutor, with the pipeline's libraries loaded once, before its workers are forked.

A task that imports pandas, scikit-learn, skl2onnx and DVC by itself spends two seconds on that; a forked one shares
them with all others, in time and in memory. Nothing of ``src`` is loaded here: a task must see the code of the day.
"""

import importlib

from airflow.executors.local_executor import LocalExecutor

LIBRARIES = (
    "boto3",
    "dotenv",
    "dvc.repo",
    "dvc_s3",
    "onnxruntime",
    "pandas",
    "pydantic_settings",
    "s3fs",
    "skl2onnx",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
)


class PreloadedLocalExecutor(LocalExecutor):
    """Forks workers that have ``LIBRARIES`` in memory."""

    def start(self) -> None:
        """Load the libraries, then fork."""
        for library in LIBRARIES:
            importlib.import_module(library)
        super().start()

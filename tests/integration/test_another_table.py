"""Another table takes one module and its data: here one of 30 columns and two classes replaces the wines."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_breast_cancer
from streamlit.testing.v1 import AppTest

from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import new_bucket
from tests.support.documents import blocks
from tests.support.services import Service, eventually, free_port
from tests.support.throwaway import copy_project

MODULE = '''"""The table: cells of tumours, and whether these are malignant."""

from src.core.table import Feature

NAME = "tumour"
TITLE = "Breast tumours"
DAG_ID = "tumour_diagnosis"
FILE = "tumours.csv"
FEATURES = (
{features}
)
TARGET = "tumour class"
CLASSES = (-2, 4)
EXAMPLE = {example}
'''
SHOW_DAG = """
import json, sys
sys.path.insert(0, "dags")
import wine_quality
dag = wine_quality.wine_quality()
print("RESULT", json.dumps([dag.dag_id, sorted(dag.tags), dag.doc_md, [task.doc_md for task in dag.tasks]]))
"""


@dataclass(frozen=True)
class Other:
    """A copy of the project with another table, and its API."""

    folder: Path
    api: Service
    bucket: Bucket
    example: dict[str, float]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.api.url.replace("/liveness", path), timeout=5)

    def predict(self, changed: dict[str, Any]) -> dict[str, Any]:
        url = self.api.url.replace("/liveness", "/predict")
        answer: dict[str, Any] = httpx.post(url, json=self.example | changed, timeout=5).json()
        return answer


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a copy of the project, which must end well."""
    env = os.environ | {"AIRFLOW_HOME": str(folder.parent / "airflow"), "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def uvicorn(folder: Path) -> Service:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "src.api.app:app", "--port", str(port)]
    cache = str(folder.parent / f"cache-{port}")
    env = os.environ | {"API_CACHE": cache, "API_POLL_SECONDS": "0.1", "PYTHONPATH": str(folder)}
    return Service(command, f"http://127.0.0.1:{port}/liveness", folder.parent / f"{port}.log", env)


def write_table(folder: Path) -> tuple[Path, dict[str, float]]:
    """Replace the module, write the CSV beside the copy; returns it, and the table's first row as a request."""
    table = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "tumour class"})
    table["tumour class"] = table["tumour class"].map({0: 4, 1: -2})
    table["mean radius"] -= 15  # a table may know negative values
    names = [name for name in table if name != "tumour class"]
    example = {name.replace(" ", "_"): float(table[name][0]) for name in names}
    features = "\n".join(f'    Feature("{name}", "mm", {table[name].min() - 1}, 10000.0),' for name in names)
    (folder / "src/core/wine.py").write_text(MODULE.format(features=features, example=repr(example)))
    csv = folder.parent / "tumours.csv"
    table.to_csv(csv, index=False)
    return csv, example


@pytest.fixture(scope="module")
def other(
    store: Service, training: tuple[list[Pointer], dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Other]:
    """Replace the table in a copy, publish the data, and do the daily run where a wine model is the champion."""
    folder = tmp_path_factory.mktemp("another") / "project"
    copy_project(folder)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    csv, example = write_table(folder)
    (wines, *_), objects = training
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        for key, content in objects.items():
            bucket.put(key, content)
        Registry(bucket).promote(wines, "first", "test", {})
        api = uvicorn(folder)
        api.start()
        try:
            other = Other(folder, api, bucket, example)
            rejected = eventually(lambda: other.get("/healthcheck").json()["rejected"])
            assert "it is of another table than the tumour's" in rejected["reason"]
            run(folder, "-m", "src.publish_data", str(csv))
            held = run(folder, "-m", "src.pipeline").stdout
            assert "it has another contract than the champion: without fixed acidity" in held
            (command,) = set(re.findall(r"python -m (src.registry promote \w+ --new-contract)", held))
            run(folder, "-m", *command.split())
            eventually(lambda: other.get("/readiness").is_success)
            yield other
        finally:
            api.stop()


def test_only_the_module_and_the_data_s_pointer_differ(other: Other) -> None:
    untouched = other.folder.parent / "untouched"
    copy_project(untouched)
    files = [path.relative_to(untouched) for path in untouched.rglob("*") if path.is_file()]
    changed = {str(file) for file in files if (other.folder / file).read_bytes() != (untouched / file).read_bytes()}
    assert len(files) > 100
    assert changed == {"src/core/wine.py", "data.dvc"}


def test_the_release_is_of_that_table_and_good(other: Other) -> None:
    release = other.get("/release").json()
    assert release["classes"] == [-2, 4] and release["target"] == "tumour class"
    assert len(release["features"]) == 30
    assert all(0.9 < value <= 1 for value in release["metrics"]["test"].values())


def test_the_documentation_speaks_of_that_table_alone(other: Other) -> None:
    openapi = other.get("/openapi.json").json()
    assert openapi["info"]["title"] == "Breast tumours"
    row = openapi["components"]["schemas"]["Tumour"]
    assert list(row["properties"]) == list(other.example) and row["example"] == other.example
    assert row["properties"]["mean_radius"]["minimum"] < 0
    assert row["properties"]["mean_area"]["minimum"] == 142.5
    predicted = openapi["components"]["schemas"]["Prediction"]["properties"]["predicted_tumour_class"]
    assert predicted["description"] == "The most probable class, among -2, 4"
    text = json.dumps(openapi).lower()
    assert "wine" not in text and "quality" not in text


def test_answers_are_classes_with_probabilities_and_warnings(other: Other) -> None:
    answer = other.predict({})
    assert answer["predicted_tumour_class"] == 4
    assert list(answer["probabilities"]) == ["-2", "4"]
    assert answer["probabilities"]["4"] > 0.5 and sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["warnings"] == []
    (warning,) = other.predict({"mean_area": 9000})["warnings"]
    assert warning.startswith("mean_area 9000 is outside the range that training saw")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("mean_area", -1, "greater than or equal to 142.5"),
        ("mean_radius", -900, "greater than or equal to -9"),
        ("pH", 3, "not permitted"),
    ],
)
def test_bad_input_is_rejected_by_that_table_s_names(other: Other, field: str, value: float, words: str) -> None:
    (fault,) = other.predict({field: value})["errors"]
    assert fault["field"] == field and words in fault["message"]


def test_a_class_that_is_not_one_of_its_own_is_named(other: Other, tmp_path: Path) -> None:
    lines = (other.folder / "data" / "tumours.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([lines[0], lines[1].rpartition(",")[0] + ",3"]))
    command = [sys.executable, "-m", "src.publish_data", str(tmp_path / "bad.csv")]
    done = subprocess.run(command, cwd=other.folder, capture_output=True, text=True, check=False)
    assert "column 'tumour class': '3' is out of range, expected a class among -2, 4" in done.stderr


def test_metrics_are_named_after_it(other: Other) -> None:
    other.predict({})
    text = other.get("/metrics").text
    for name in (
        "predictions_total",
        "request_seconds_count",
        "release_info",
        "release_rejected",
        "store_reachable",
        "store_poll_age_seconds",
    ):
        assert f"\ntumour_{name}" in text
    assert "wine" not in text


def test_the_page_has_its_title_its_form_and_its_answer(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", other.api.url.removesuffix("/liveness"))
    app = AppTest.from_file(str(other.folder / "front" / "front.py"), default_timeout=120).run()
    assert not app.exception
    assert app.title[0].value == "One row"
    assert [field.label for field in app.number_input][:2] == ["mean radius, mm", "mean texture, mm"]
    assert len(app.number_input) == len(app.slider) == 30
    assert re.match("(-2|4), ", app.header[0].value) and app.header[1].value in (
        "Why 4 and not -2?",
        "Why -2 and not 4?",
    )
    assert any("Exact: the average row has odds of" in caption.value for caption in app.caption)
    app.number_input[0].set_value(-5.0).run()
    assert not app.exception and not app.error
    assert app.slider[0].value == -5.0
    assert "wine" not in " ".join(one.value for one in [*app.markdown, *app.caption, *app.title]).lower()


def test_the_dag_has_its_id(other: Other) -> None:
    lines = run(other.folder, "-c", SHOW_DAG).stdout.splitlines()
    (shown,) = [json.loads(line.removeprefix("RESULT ")) for line in lines if line.startswith("RESULT ")]
    assert shown[:2] == ["tumour_diagnosis", ["tumour"]]
    assert "wine" not in json.dumps(shown)


def test_the_search_fetches_it_and_ranks_its_models(other: Other, tmp_path: Path) -> None:
    (other.folder / "data" / "tumours.csv").unlink()
    done = run(
        other.folder,
        "-m",
        "src.learn_models",
        "LogisticRegression",
        "--limit",
        "2",
        "--jobs",
        "1",
        "--into",
        str(tmp_path),
    )
    assert (other.folder / "data" / "tumours.csv").is_file()
    assert "LR_1" in done.stdout and "PARAMETERS = {" in done.stdout
    assert f"2 result(s) for the page in s3://{other.bucket.name}/experiments/" in done.stdout
    (*_, last) = (tmp_path / "logs" / "tracking_model_metrics.log").read_text().splitlines()
    result = json.loads(last)
    assert result["scores"]["cv"]["ROC_AUC"] > 0.9 and len(result["confusion"]) == 2


def test_a_release_that_was_rolled_back_to_another_table_s_does_not_return_by_itself(other: Other) -> None:
    registry = Registry(other.bucket)
    mine = registry.current()
    assert mine
    registry.rollback(None, "test")
    assert f"registry promote {mine.id} --new-contract" in run(other.folder, "-m", "src.pipeline").stdout
    assert eventually(lambda: other.get("/healthcheck").json()["rejected"])
    assert other.predict({})["release"] == mine.id


def test_the_documented_steps_give_a_champion(bucket: Bucket, tmp_path: Path) -> None:
    rows, module, start = blocks("docs/another-table.md", "sh", "python")
    folder = tmp_path / "project"
    copy_project(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    subprocess.run(["bash", "-ec", rows], cwd=folder, check=True)
    (folder / "src/core/wine.py").write_text(module)
    assert start.startswith("make data CSV=iris.csv\n")
    run(folder, "-m", "src.publish_data", "iris.csv")
    assert "there is no champion yet" in run(folder, "-m", "src.pipeline").stdout
    champion = Registry(bucket).current()
    assert champion
    provenance = Registry(bucket).load(champion).provenance
    assert [feature.name for feature in provenance.features][:2] == ["sepal length", "sepal width"]
    assert provenance.classes == (0, 1, 2)

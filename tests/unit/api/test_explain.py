"""What a person is told of an answer: its reasons, what would change it, and the rows that its release is made of."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from src.api.app import app
from src.core.linear import Linear
from src.core.pointer import Pointer
from src.core.wine import CLASSES, EXAMPLE, FEATURES

NAMES = [str(label) for label in CLASSES]


def explain(client: TestClient, **changed: float) -> dict[str, Any]:
    answer = client.post("/explain", json=EXAMPLE | changed)
    assert answer.status_code == 200, answer.text
    explanation: dict[str, Any] = answer.json()
    return explanation


@pytest.mark.parametrize("changed", [{}, {"alcohol": 12.5}, {"sulphates": 1.2, "volatile_acidity": 0.3}])
def test_what_the_features_add_is_what_the_odds_are(ready: TestClient, changed: dict[str, float]) -> None:
    told = explain(ready, **changed)
    assert told["method"] == "linear"
    scores = {
        name: told["start"][name] + sum(added[name] for added in told["contributions"].values()) for name in NAMES
    }
    likely = [name for name in NAMES if told["probabilities"][name] > 0.01]
    for one in likely:
        for other in likely:
            odds = told["probabilities"][one] / told["probabilities"][other]
            assert np.exp(scores[one] - scores[other]) == pytest.approx(odds, rel=1e-3)


def test_it_is_weight_times_standardised_value_against_the_mean_wine(ready: TestClient) -> None:
    told, linear = explain(ready), app.state.champion.live.linear
    means = list(told["baseline"].values())
    assert explain(ready, **told["baseline"])["contributions"]["alcohol"] == pytest.approx(
        dict.fromkeys(NAMES, 0), abs=1e-5
    )
    standardised = (EXAMPLE["alcohol"] - means[-1]) * linear.scale[-1]
    assert list(told["contributions"]["alcohol"].values()) == pytest.approx(
        linear.weights[:, -1] * standardised, abs=1e-5
    )


def test_the_answer_is_that_of_predict_and_nothing_of_it_is_logged(ready: TestClient) -> None:
    before = ready.get("/metrics").text.count("wine_predictions_total{")
    told, predicted = explain(ready, alcohol=20.0), ready.post("/predict", json=EXAMPLE | {"alcohol": 20.0}).json()
    for key in ("release", "predicted_quality", "probabilities", "warnings"):
        assert told[key] == predicted[key]
    pending = app.state.log.pending
    explain(ready, alcohol=14.0)
    assert app.state.log.pending == pending
    assert before <= ready.get("/metrics").text.count("wine_predictions_total{") <= before + 1


def test_each_change_does_what_it_says_and_a_smaller_one_does_not(ready: TestClient) -> None:
    told = explain(ready)
    assert told["changes"], "the table's first wine can be better"
    distances = [change["distance"] for change in told["changes"]]
    assert distances == sorted(distances)
    for change in told["changes"]:
        now, then = EXAMPLE[change["field"]], change["value"]
        assert explain(ready, **{change["field"]: then})["predicted_quality"] == change["predicted_quality"] > 5
        less = now + 0.97 * (then - now)
        assert explain(ready, **{change["field"]: less})["predicted_quality"] == 5


def test_of_a_model_that_is_not_linear_the_reasons_are_an_approximation(
    ready: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(app.state.champion.live), "linear", None)
    told = explain(ready)
    assert told["method"] == "one at a time"
    medians = {feature.name: feature.median for feature in app.state.champion.live.release.provenance.features}
    assert list(told["baseline"].values()) == list(medians.values())
    changed = explain(ready, alcohol=medians["alcohol"])
    gained = np.log(told["probabilities"]["5"]) - np.log(changed["probabilities"]["5"])
    assert told["contributions"]["alcohol"]["5"] == pytest.approx(gained, abs=1e-4)


def test_weights_that_do_not_give_the_model_s_odds_are_not_used(ready: TestClient) -> None:
    live = app.state.champion.live
    rows = np.array([list(EXAMPLE.values())])
    assert live.linear.gives_odds_of(live.release.model, rows)
    wrong = Linear(live.linear.mean + 1, live.linear.scale, live.linear.weights, live.linear.intercepts)
    assert not wrong.gives_odds_of(live.release.model, rows)


def test_what_is_impossible_is_rejected_as_by_predict(ready: TestClient) -> None:
    (asked, predicted) = (ready.post(path, json=EXAMPLE | {"pH": 9}) for path in ("/explain", "/predict"))
    assert asked.status_code == 422 and asked.json() == predicted.json()


def test_the_profile_is_that_of_the_release(ready: TestClient, shared_release: Pointer) -> None:
    told, release = ready.get("/profile").json(), ready.get("/release").json()
    assert told["release"] == shared_release.id
    assert [one["field"] for one in told["features"]] == [feature.field for feature in FEATURES]
    for one, seen in zip(told["features"], release["features"], strict=True):
        assert seen["minimum"] <= min(one["quantiles"]) and max(one["quantiles"]) <= seen["maximum"]
    assert sum(told["predicted"].values()) == told["test_rows"]


def test_the_classes_are_those_of_the_rows_in_the_bucket(ready: TestClient) -> None:
    told, profile = ready.get("/classes").json(), ready.get("/profile").json()
    assert list(told["train"]) == list(told["test"]) == NAMES
    assert sum(told["train"].values()) == profile["rows"] and sum(told["test"].values()) == profile["test_rows"]


def test_examples_are_rows_that_were_held_out_with_their_truth(ready: TestClient) -> None:
    answers = [ready.get("/examples") for _ in range(5)]
    assert answers[0].headers["cache-control"] == "no-store"
    examples = {one["name"]: one for one in answers[0].json()["examples"]}
    assert list(examples) == ["median", "best", "poor", "random"]
    assert (examples["best"]["truth"], examples["poor"]["truth"], examples["median"]["truth"]) == (8, 3, None)
    assert len({answer.json()["examples"][3]["row"] for answer in answers}) > 1
    for one in examples.values():
        assert ready.post("/predict", json=one["features"]).status_code == 200

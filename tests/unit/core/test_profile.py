"""A release's profile tells the wines it was made from, and what its probabilities are worth, without any of them."""

import numpy as np
import pytest

from src.core.profile import QUANTILES, Calibration, Profile, describe, take_quantiles


def test_quantiles_are_a_sample_of_the_values() -> None:
    values = np.random.default_rng(1).gamma(2, 15, 1143).round(1)
    sample = take_quantiles(values)
    assert len(sample) == QUANTILES and set(sample) <= set(values.tolist())
    for bound in np.quantile(values, np.linspace(0, 1, 50)):
        share = np.mean(np.array(sample) <= bound)
        assert share == pytest.approx(np.mean(values <= bound), abs=0.5 / QUANTILES + 1e-9)


def test_equal_rows_give_equal_bytes_and_are_read_back() -> None:
    chance = np.random.default_rng(2)
    train, truth = chance.normal(size=(300, 2)), chance.integers(3, 6, 90)
    probabilities = chance.dirichlet((1, 1, 1), 90)
    labels = probabilities.argmax(axis=1) + 3
    one, other = (describe(["a", "b"], train, truth, labels, probabilities) for _ in range(2))
    assert one.to_json() == other.to_json()
    assert Profile.read_json(one.to_json(), "profile.json") == one
    assert (one.rows, one.test_rows, sum(one.predicted.values())) == (300, 90, 90)


def test_calibration_expects_what_an_overconfident_model_reaches() -> None:
    chance = np.random.default_rng(3)
    confidence = chance.uniform(0.5, 1, 4000)
    hits = chance.random(4000) < confidence - 0.2
    probabilities = np.column_stack([confidence, 1 - confidence])
    labels = np.full(4000, 7)
    profile = describe(["a"], confidence[:, None], np.where(hits, 7, 8), labels, probabilities)
    for given in (0.6, 0.75, 0.9):
        assert profile.calibration.expect(np.array([given]))[0] == pytest.approx(given - 0.2, abs=0.05)


def test_beyond_its_bins_calibration_expects_what_the_last_one_reached() -> None:
    expected = Calibration(confidence=(0.4, 0.8), accuracy=(0.5, 0.7)).expect(np.array([0.1, 0.6, 0.99]))
    assert expected == pytest.approx([0.5, 0.6, 0.7])

"""Drift's figures are scipy's of all the wines, a quiet day is quiet, and half a standard deviation is found."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from src.config import DRIFT_RULE, MODEL, PARAMETERS, SPLIT
from src.core import dataset, drift, models, profile
from src.core.dataset import FEATURE_NAMES
from src.core.onnx_model import Model
from src.core.profile import Profile
from src.core.wine import TARGET
from tests.support.peers import install

SULFUR = FEATURE_NAMES.index("total sulfur dioxide")


@pytest.fixture(scope="module")
def wines(data_csv: Path) -> tuple[np.ndarray, np.ndarray, Model, Profile]:
    """Return every wine, those of train, the configured model, and its profile."""
    table = dataset.read(data_csv)
    train, test = dataset.split(table, SPLIT)
    model = Model(models.export(models.fit(MODEL, PARAMETERS, train)))
    labels, probabilities = model.predict(test[FEATURE_NAMES].to_numpy())
    seen = train[FEATURE_NAMES].to_numpy()
    described = profile.describe(FEATURE_NAMES, seen, test[TARGET].to_numpy(), labels, probabilities)
    return table[FEATURE_NAMES].to_numpy(), seen, model, described


def draw(wines: np.ndarray, count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rows = wines[np.random.default_rng(seed).integers(len(wines), size=count)].copy()
    rows[:, SULFUR] += shift
    return np.unique(rows, axis=0)


@pytest.mark.parametrize("shift", [0.0, 5.0, 17.0])
def test_the_figures_are_those_that_scipy_gives_train_itself(
    wines: tuple[np.ndarray, np.ndarray, Model, Profile], shift: float
) -> None:
    everything, seen, model, described = wines
    live = draw(everything, 300, 1, shift)
    found = drift.measure(live, model.predict(live)[0], described, DRIFT_RULE)
    for place, one in enumerate(found.features):
        ours, theirs = seen[:, place], live[:, place]
        exact = stats.ks_2samp(ours, theirs)
        assert one.distance == pytest.approx(exact.statistic, abs=0.006)
        assert one.low <= exact.statistic <= one.high
        expected = stats.wasserstein_distance(ours, theirs) / ours.std()
        assert one.wasserstein == pytest.approx(expected, abs=0.05)
        assert one.stability_index == pytest.approx(divergence(ours, theirs), abs=0.05)


def divergence(seen: np.ndarray, live: np.ndarray) -> float:
    """Return the PSI as the sum of both relative entropies of scipy."""
    edges = [-np.inf, *np.unique(np.quantile(seen, np.linspace(0.1, 0.9, 9))), np.inf]
    shares = [
        np.maximum(stats.binned_statistic(values, values, "count", np.nextafter(edges, np.inf)).statistic, 0.5)
        / len(values)
        for values in (seen, live)
    ]
    return float(stats.entropy(shares[0], shares[1]) + stats.entropy(shares[1], shares[0]))


# Two of its modules: all of evidently takes a minute to import. Its PSI has other bins than ours.
EVIDENTLY = """
import json, sys, types
from importlib.util import find_spec
import numpy, pandas
package = types.ModuleType("evidently")
package.__path__ = find_spec("evidently").submodule_search_locations
sys.modules["evidently"] = package
from evidently.legacy.calculations.stattests.ks_stattest import ks_stat_test
from evidently.legacy.calculations.stattests.wasserstein_distance_norm import wasserstein_stat_test
seen, live = (pandas.DataFrame(numpy.load(file)) for file in sys.argv[1:])
tests = (wasserstein_stat_test, ks_stat_test)
print(json.dumps([[float(test.func(seen[one], live[one], "num", 0.1)[0]) for test in tests] for one in seen]))
"""


def test_the_figures_are_evidently_s(wines: tuple[np.ndarray, np.ndarray, Model, Profile], tmp_path: Path) -> None:
    python = install("evidently==0.7.23", "pandas<3") / "python"
    everything, seen, model, described = wines
    live = draw(everything, 300, 1, 17.0)
    files = [tmp_path / "seen.npy", tmp_path / "live.npy"]
    for file, values in zip(files, (seen, live), strict=True):
        np.save(file, values)
    told = subprocess.run([python, "-c", EVIDENTLY, *files], capture_output=True, text=True, check=True).stdout
    found = drift.measure(live, model.predict(live)[0], described, DRIFT_RULE).features
    theirs = json.loads(told)
    corrected = drift.holm([p for _, p in theirs])
    for one, (wasserstein, _), p in zip(found, theirs, corrected, strict=True):
        assert one.wasserstein == pytest.approx(wasserstein, abs=0.05)
        assert (one.p < DRIFT_RULE.false_alarms) == (p < DRIFT_RULE.false_alarms), one.name
    assert found[SULFUR].drifted and corrected[SULFUR] < DRIFT_RULE.false_alarms


def test_quiet_days_raise_no_alarm(wines: tuple[np.ndarray, np.ndarray, Model, Profile]) -> None:
    everything, _, model, described = wines
    for seed in range(40):
        live = draw(everything, (60, 200, 1000)[seed % 3], seed)
        assert drift.measure(live, model.predict(live)[0], described, DRIFT_RULE).alarms == ()


def test_half_a_standard_deviation_of_sulfur_dioxide_is_found(
    wines: tuple[np.ndarray, np.ndarray, Model, Profile],
) -> None:
    everything, seen, model, described = wines
    for seed in range(10):
        live = draw(everything, 200, seed, seen[:, SULFUR].std() / 2)
        assert "total sulfur dioxide" in drift.measure(live, model.predict(live)[0], described, DRIFT_RULE).alarms


def test_what_is_near_is_no_alarm_however_many_wines_tell_of_it(
    wines: tuple[np.ndarray, np.ndarray, Model, Profile],
) -> None:
    everything, _, model, described = wines
    rows = np.repeat(everything, 20, axis=0)
    rows[:, SULFUR] += np.random.default_rng(1).uniform(2, 3, len(rows))
    found = drift.measure(rows, model.predict(rows)[0], described, DRIFT_RULE)
    assert found.features[SULFUR].p < 0.01 and found.alarms == ()


def test_a_mix_of_other_classes_is_found(wines: tuple[np.ndarray, np.ndarray, Model, Profile]) -> None:
    everything, _, _, described = wines
    found = drift.measure(draw(everything, 200, 1), np.repeat([6, 7, 5], [120, 60, 20]), described, DRIFT_RULE)
    assert found.alarms == ("predicted classes",)
    assert found.mix.found == {"3": 0, "4": 0, "5": 0.1, "6": 0.6, "7": 0.3, "8": 0}


def test_chi_square_is_scipy_s_once_rare_classes_joined_a_neighbour() -> None:
    expected, found = {"3": 1, "4": 4, "5": 145, "6": 125, "7": 16, "8": 1}, {"5": 90, "6": 100, "7": 30}
    exact = stats.chi2_contingency([[150, 125, 17], [90, 100, 30]], correction=False)
    assert drift.compare_mix(expected, found) == pytest.approx((exact.statistic, exact.pvalue))
    assert drift.compare_mix({"5": 9}, {"5": 12}) == (0.0, 1.0)


def test_holm_corrects_each_for_those_that_are_left() -> None:
    assert drift.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert drift.holm([0.9, 0.8]) == [1, 1]

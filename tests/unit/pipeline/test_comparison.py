"""The comparison for people: verdict, metrics side by side with their intervals, and only what differs."""

import json

from src.core.metrics import Interval
from src.core.release import Provenance
from src.pipeline.comparison import Comparison

SCORES = {"challenger": {"ROC_AUC": 0.82}, "champion": {"ROC_AUC": 0.8}}
CHAMPION = Provenance(
    model="LogisticRegression",
    parameters={"C": 1.0, "solver": "lbfgs"},
    split={"salt": "red-wine"},
    data={"md5": "aa"},
    train={},
    test={},
    features=(),
    classes=(5, 6),
    libraries={"numpy": "2.0"},
)


def decision(promote: bool = True, champion: str | None = "bbb") -> Comparison:
    scores = SCORES if champion else {"challenger": SCORES["challenger"]}
    intervals = {"ROC_AUC": Interval(-0.012, 0.031)} if champion else {}
    return Comparison(promote, "a reason", "aaa", champion, scores, intervals, looks=7)


def test_what_xcom_carries_is_read_back_and_older_runs_are_too() -> None:
    content = json.loads(json.dumps(decision().to_dict()))
    assert Comparison.from_dict(content) == decision()
    older = {name: value for name, value in content.items() if name not in ("intervals", "looks")}
    assert Comparison.from_dict(older).intervals == {}


def test_the_event_gets_both_sides_and_the_ends_of_the_intervals() -> None:
    ends = {"low": {"ROC_AUC": -0.012}, "high": {"ROC_AUC": 0.031}}
    assert decision().list_figures() == {**SCORES, **ends}
    assert set(decision(champion=None).list_figures()) == {"challenger"}


def test_a_terminal_gets_the_figures_the_interval_and_how_often_these_rows_decided() -> None:
    assert decision().to_text().splitlines() == [
        "                challenger    champion   difference",
        "  ROC_AUC           0.8200      0.8000   −0.012 to +0.031",
        "These held-out wines have judged 7 of at most 50 releases",
    ]


def test_uncommitted_code_is_named() -> None:
    assert "Its code is dirty." in decision().to_markdown(CHAMPION, CHAMPION, "dirty")


def test_verdict_reason_ids_and_changes_are_shown() -> None:
    text = decision().to_markdown(CHAMPION, CHAMPION)
    assert "**The challenger would be promoted:** a reason." in text
    assert "| release | `aaa` | `bbb` | | |" in text
    assert "| ROC_AUC | 0.8200 | 0.8000 | +0.0200 | −0.012 to +0.031 |" in text
    assert "These held-out wines have judged 7 of at most 50 releases." in text
    assert "**The challenger would not be promoted:**" in decision(False).to_markdown(CHAMPION, CHAMPION)


def test_only_what_differs_is_listed() -> None:
    changed = {
        "parameters": {"C": 0.5, "solver": "lbfgs", "tol": 1},
        "data": {"md5": "cc"},
        "libraries": {"numpy": "2.1"},
    }
    ours = CHAMPION.model_copy(update=changed)
    _, _, table = decision().to_markdown(ours, CHAMPION).partition("| what differs | challenger | champion |\n")
    assert table.splitlines() == [
        "| --- | --- | --- |",
        "| data | `cc` | `aa` |",
        "| libraries: numpy | `2.1` | `2.0` |",
        "| parameters: C | `0.5` | `1.0` |",
        "| parameters: tol | `1` | – |",
    ]


def test_where_nothing_differs_that_is_said() -> None:
    text = decision(False).to_markdown(CHAMPION, CHAMPION)
    assert text.endswith("\nData, parameters, split and libraries are the same.")


def test_before_the_first_promotion_there_is_nothing_beside_it() -> None:
    text = decision(champion=None).to_markdown(CHAMPION, None)
    assert "| release | `aaa` | – | | |" in text
    assert "| ROC_AUC | 0.8200 | – | | |" in text
    assert "differs" not in text

"""The comparison in Markdown: verdict, metrics side by side, and only what differs."""

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
    return Comparison(promote, "a reason", "aaa", champion, scores)


def test_verdict_reason_ids_and_changes_are_shown() -> None:
    text = decision().to_markdown(CHAMPION, CHAMPION)
    assert "**The challenger would be promoted:** a reason." in text
    assert "| release | `aaa` | `bbb` | |" in text
    assert "| ROC_AUC | 0.8200 | 0.8000 | +0.0200 |" in text
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
    assert "| release | `aaa` | – | |" in text
    assert "| ROC_AUC | 0.8200 | – | |" in text
    assert "differs" not in text

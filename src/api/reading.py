"""Reads of the bucket that a request waits for: in a thread, and what goes wrong is told as a problem."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from src.api.schemas import Problem
from src.errors import IntegrityError, MissingError, StoreError

T = TypeVar("T")
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (422, 503)}
WITH_NONE: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, **PROBLEMS}  # where there may be nothing to tell


async def read(function: Callable[..., T], *arguments: Any) -> T:
    """Return what ``function`` returns, which reads the bucket.

    Raises:
        HTTPException: 404 where the bucket has nothing to tell, 503 where it cannot be read.

    """
    try:
        return await run_in_threadpool(function, *arguments)
    except MissingError as error:
        raise HTTPException(404, str(error)) from error
    except (IntegrityError, StoreError) as error:
        raise HTTPException(503, str(error)) from error


def show(example: Any) -> dict[int | str, dict[str, Any]]:
    """Return what lets the documentation show this answer."""
    return {200: {"content": {"application/json": {"example": example}}}}

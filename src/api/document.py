"""The OpenAPI document, made to say what FastAPI cannot know of the service."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI

from src.api.problems import MEDIA_TYPE

PROBLEM = {"$ref": "#/components/schemas/Problem"}


def complete_document(app: FastAPI) -> None:
    """Let ``app`` describe problems by the content type that they are sent with, and keys as what they are here."""
    app.openapi = partial(_complete, app, app.openapi)  # type: ignore[method-assign]


def _complete(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    document = describe()
    for operation in [operation for path in document["paths"].values() for operation in path.values()]:
        for content in [answer.get("content", {}) for answer in operation["responses"].values()]:
            for kind in [kind for kind, one in content.items() if one.get("schema") == PROBLEM]:
                content[MEDIA_TYPE] = content.pop(kind)
        if "security" in operation and not app.state.keys:
            operation["security"].insert(0, {})  # where the service has no keys, none is needed
    return document

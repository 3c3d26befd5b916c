"""The OpenAPI document, made to say what FastAPI cannot know of the service."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI

from src.api.keys import HEADER, is_open
from src.api.problems import MEDIA_TYPE

PROBLEM = {"$ref": "#/components/schemas/Problem"}
SCHEME = "key"


def complete_document(app: FastAPI) -> None:
    """Let ``app`` describe problems by the content type that they are sent with, and where a key is needed."""
    app.openapi = partial(_complete, app, app.openapi)  # type: ignore[method-assign]


def _complete(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    document = describe()
    document["components"]["securitySchemes"] = {SCHEME: {"type": "apiKey", "in": "header", "name": HEADER}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if not is_open(path):
                _declare_key(operation, app)
            _declare_problems(operation)
    return document


def _declare_key(operation: dict[str, Any], app: FastAPI) -> None:
    """Say that a key is needed, or what else may be sent: nothing, where the service has none."""
    operation["security"] = [{SCHEME: []}] if app.state.keys else [{}, {SCHEME: []}]
    if "4XX" not in operation["responses"]:
        content = {"application/json": {"schema": PROBLEM}}
        operation["responses"]["401"] = {"description": "Unauthorized", "content": content}


def _declare_problems(operation: dict[str, Any]) -> None:
    for content in [answer.get("content", {}) for answer in operation["responses"].values()]:
        for kind in [kind for kind, one in content.items() if one.get("schema") == PROBLEM]:
            content[MEDIA_TYPE] = content.pop(kind)

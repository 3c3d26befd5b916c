"""What the prediction service is compared with: the same answer from bare uvicorn, and from FastAPI without a model."""

from typing import Any

from fastapi import FastAPI
from pydantic import create_model

from src.core.wine import EXAMPLE

ANSWER: dict[str, Any] = {
    "id": "18eb2d7b760a723d1e6940df",
    "predicted_quality": 5,
    "probabilities": {"3": 0.01659, "4": 0.063543, "5": 0.677157, "6": 0.237486, "7": 0.005191, "8": 0.000034},
    "release": "f937ab93903c",
    "warnings": [],
}
BODY = (
    b'{"id":"18eb2d7b760a723d1e6940df","predicted_quality":5,"probabilities":{"3":0.01659,"4":0.063543,"5":0.677157,'
    b'"6":0.237486,"7":0.005191,"8":0.000034},"release":"f937ab93903c","warnings":[]}'
)
HEADERS = [(b"content-length", str(len(BODY)).encode()), (b"content-type", b"application/json")]

fastapi = FastAPI()
_fields: dict[str, Any] = dict.fromkeys(EXAMPLE, (float, ...))
Row: Any = create_model("Row", **_fields)


async def bare(_: Any, receive: Any, send: Any) -> None:
    """Read the request and send the answer."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


@fastapi.post("/predict")
async def predict(_: Row) -> dict[str, Any]:
    """Validate the request and send the answer."""
    return ANSWER

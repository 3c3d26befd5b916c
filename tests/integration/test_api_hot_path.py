"""Whatever a client sends to ``/predict``: it is answered as FastAPI's plain route answers it, byte for byte."""

import asyncio
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import generate_latest
from starlette.datastructures import State
from uvicorn.server import ServerState

from src.api.champion import Champion
from src.api.connection import Connections
from src.api.hot import HotConnection
from src.api.keys import Keys
from src.api.limits import Limits
from src.api.prediction_log import PROCESS, PredictionLog
from src.api.schemas import Prediction
from src.api.spool import Spool
from src.api.telemetry import Telemetry
from src.core.pointer import Pointer
from src.core.signature import trust
from src.core.wine import EXAMPLE
from src.registry import Registry
from src.settings import read_trusted_keys
from src.storage.bucket import Bucket
from src.storage.reader import Reader
from tests.integration.test_api_limits import BARE, HEAD, running
from tests.support.services import Service, eventually

TEXT = json.dumps(EXAMPLE)
NUMBERS = "0 -0 -0.0 1 7 1e0 1E+2 12e-1 0.1 1e-7 1e-400 1e6 1000000.0 1000000.0000000001 1000001 1e7 1e300 1e400"
NUMBERS += (
    " 99999999999999999999 0.30000000000000004 3.141592653589793238462643383279 -1 -1e-9 -1e-400 9.4 14.9 14.900001"
)
NO_NUMBERS = 'null true false "3" "" [] [3] {} NaN Infinity -Infinity 01 1. .5 +1 0x10 1_000 --1 1e 3,4 "\\ud800" \'1\''
BODIES: list[str | bytes] = [
    *(b"", b" ", b"{", b"{}", b"[]", b"[1]", b"3", b"null", b"true", b'"x"', b"\xff", b"\x00", TEXT.encode()[:-1]),
    *(
        f" \n\t\r{TEXT} \n",
        f"{TEXT}x",
        f"{TEXT},",
        f"{TEXT}\0",
        f"[{TEXT}]",
        f"\x0b{TEXT}",
        TEXT.replace(" ", ""),
        TEXT.replace(" ", "\n"),
    ),
    *(TEXT.encode("utf-16"), TEXT.encode("utf-8-sig"), TEXT.encode("utf-32"), TEXT.replace("pH", "ph")),
    *(
        TEXT.replace("pH", "p\\u0048"),
        TEXT.replace('"pH"', '"pH\xff"').encode("latin-1"),
        TEXT.replace("pH", "\\ud800"),
    ),
    *(TEXT.replace("}", ', "pH": 3}'), TEXT.replace("}", ', "pH": "x"}'), TEXT.replace("{", '{"pH": "x", ', 1)),
    *(TEXT.replace("}", ', "colour": 1}'), TEXT.replace("}", ",}"), TEXT.replace(",", ",,", 1), TEXT.replace('"', "'")),
    *(
        TEXT.replace("}", f', "{name}": 1}}')
        for name in ("", "id", "PH", "pH ", "__class__", "\\u0000", "é", "x" * 5000)
    ),
    *(TEXT.ljust(size) for size in (4095, 4096, 4097, 65_536)),
    *("[" * 500, '{"pH":' * 500, json.dumps(EXAMPLE | {f"colour_{number}": 1 for number in range(100)})),
]
JSON = {"content-type": "application/json"}
HEADERS: list[dict[str, str]] = [
    *({"content-type": kind} for kind in ("application/JSON", "application/json; charset=utf-8", "text/plain", "")),
    *({"content-type": kind} for kind in ("application/problem+json", "application/json;", "application/xml")),
    *(JSON | {"expect": "100-continue"}, JSON | {"connection": "close"}, JSON | {"accept": "text/html"}, {}),
    *(JSON | {"x-request-id": "1"}, JSON | {"origin": "http://x"}, JSON | {"content-encoding": "gzip"}),
]


def bodies() -> Iterator[bytes]:
    """Yield good and bad ones: each number in each feature, each feature missing, and 500 wines at random."""
    for body in BODIES:
        yield body.encode() if isinstance(body, str) else body
    for field in EXAMPLE:
        rest = {name: value for name, value in EXAMPLE.items() if name != field}
        yield json.dumps(rest).encode()
        for text in (*NUMBERS.split(), *NO_NUMBERS.split(), "", "9" * 400, "1" + "0" * 5000):
            yield f'{json.dumps(rest)[:-1]}, "{field}": {text}}}'.encode()
    chance = random.Random(0)
    for _ in range(500):
        times = [chance.choice([1] * 20 + [chance.random() * 3, 1000]) for _ in EXAMPLE]
        row = {name: value * factor for (name, value), factor in zip(EXAMPLE.items(), times, strict=True)}
        yield json.dumps(dict(chance.sample([*row.items()], len(row))), indent=chance.choice((None, 1))).encode()


@pytest.fixture(scope="module")
def both(
    shared_release: Pointer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Return clients of the API with its hot path, and of the same app on plain uvicorn, serving the same release."""
    folders = [tmp_path_factory.mktemp(name) for name in ("hot", "plain")]
    with running(folders[0]) as hot, running(folders[1], BARE) as plain, clients(hot, plain) as (first, second):
        eventually(lambda: first.get("/readiness").is_success and second.get("/readiness").is_success)
        yield first, second


@contextmanager
def clients(*services: Service) -> Iterator[tuple[httpx.Client, ...]]:
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(httpx.Client(base_url=service.url.removesuffix("/liveness"), timeout=30))
            for service in services
        )


def told(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """Return what must be equal: all but the answer's id and time."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status_code, headers, re.sub(rb'^{"id":"[0-9a-f]{24}"', b'{"id":""', answer.content)


def test_every_body_is_answered_as_by_the_plain_route(both: tuple[httpx.Client, httpx.Client]) -> None:
    statuses: Counter[int] = Counter()
    for body in bodies():
        hot, plain = (told(client.post("/predict", content=body, headers=JSON)) for client in both)
        assert hot == plain, body[:500]
        statuses[hot[0]] += 1
    assert statuses.keys() == {200, 400, 422}
    assert min(statuses[200], statuses[422]) > 250


@pytest.mark.parametrize("headers", HEADERS)
def test_every_head_is_answered_as_by_the_plain_route(
    both: tuple[httpx.Client, httpx.Client], headers: dict[str, str]
) -> None:
    for method in ("POST", "GET", "PUT", "HEAD"):
        for path in ("/predict", "/predict?x=1", "/predict/", "/predict#x", "/%70redict", "//predict", "/predict;x"):
            hot, plain = (told(client.request(method, path, content=TEXT, headers=headers)) for client in both)
            assert hot == plain, (method, path)


def test_the_documentation_is_that_of_the_plain_route(both: tuple[httpx.Client, httpx.Client]) -> None:
    hot, plain = (client.get("/openapi.json").json() for client in both)
    assert hot == plain
    answer = hot["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"$ref": "#/components/schemas/Prediction"}}


def test_answers_are_as_documented_and_their_ids_rise(both: tuple[httpx.Client, httpx.Client]) -> None:
    for client in both:
        answers = [client.post("/predict", json=EXAMPLE | {"alcohol": 20}).content for _ in range(100)]
        ids = [Prediction.model_validate_json(answer).id for answer in answers]
        assert ids == sorted(set(ids))


@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_a_request_may_come_in_pieces_and_many_in_one(both: tuple[httpx.Client, httpx.Client], pieces: int) -> None:
    bad = TEXT.replace("3.51", "-1")
    sent = b"".join(
        HEAD.replace(b"/predict", path).replace(b"300", str(len(body)).encode()) + body.encode()
        for path, body in ((b"/predict", TEXT), (b"/predict", bad), (b"/predict/", TEXT), (b"/predict", TEXT)) * 5
    )
    answers = []
    for client in both:
        with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = len(sent) // pieces + 1
            for start in range(0, len(sent), size):
                connection.sendall(sent[start : start + size])
            content = b""
            while content.count(b"HTTP/1.1 ") < 20 or not content.endswith(b"}"):
                content += connection.recv(65_536)
        answers.append(re.sub(rb'"id":"\w+"|(date|x-request-id): .*?\r\n', b"", content))
    assert answers[0] == answers[1]
    assert answers[0].count(b"HTTP/1.1 200") == 15


def test_a_plain_request_never_reaches_the_app(bucket: Bucket, trained: list[Pointer], tmp_path: Path) -> None:
    async def reached(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418})
        await send({"type": "http.response.body"})

    async def ask() -> list[int]:
        config = uvicorn.Config(reached, ws="none", proxy_headers=False)
        state: dict[str, Any] = {
            "champion": champion,
            "telemetry": telemetry,
            "limits": Limits(65_536, 10),
            "keys": Keys(()),
        }
        state["log"] = PredictionLog(Reader.from_environment, spool, 1, telemetry.count_dropped)
        others = Connections(9, 1, State(state))

        def connection() -> HotConnection:
            return HotConnection(others, config=config, server_state=ServerState(), app_state={})

        async with await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/predict"
            async with httpx.AsyncClient() as client:
                return [(await client.post(url, json=body)).status_code for body in (EXAMPLE, {}, EXAMPLE)]

    Registry(bucket).promote(trained[0], "first", "test", {})
    champion = Champion(Reader.from_environment, tmp_path, 1, trust(read_trusted_keys()))
    telemetry = Telemetry(champion)
    spool = Spool(tmp_path, PROCESS, 2**20, telemetry.count_dropped)
    champion.poll()
    assert asyncio.run(ask()) == [200, 418, 200]
    text = generate_latest(telemetry.registry).decode()
    assert 'wine_requests_total{route="/predict",status="200"} 2.0' in text
    assert f'wine_predictions_total{{class="5",release="{trained[0].id}"}} 2.0' in text

"""Who may ask: nobody needs a key unless the service has some; probes and documentation never need one."""

from collections.abc import Mapping, Sequence
from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from src.api.problems import tell

HEADER = "X-API-Key"
PROBES = ("/liveness", "/readiness", "/healthcheck", "/v2/health/live", "/v2/health/ready")
DOCUMENTATION = ("/docs", "/openapi.json", "/static-offline-docs/")
BEARER = b"Bearer "  # the one way in which Prometheus can send a key
MISSING = f"send one of the service's keys in the header {HEADER}"


class Keys:
    """The keys that open the service."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Hold the keys; without any, everybody may ask."""
        self._keys = [key.encode() for key in keys]

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._keys)

    def accept(self, given: bytes | None) -> bool:
        """Say whether a request with this key, or with none, is answered; a wrong key takes as long as a right one."""
        if not self._keys:
            return True
        return given is not None and any([compare_digest(key, given) for key in self._keys])


def is_open(path: str) -> bool:
    """Say whether a path needs no key."""
    return path == "/" or path in PROBES or path.startswith(DOCUMENTATION)


class RequireKey:
    """Rejects a request without a key before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 401."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            if not scope["app"].state.keys.accept(_find_key(dict(scope["headers"]))):
                answer = tell(scope["path"], 401, MISSING, {"WWW-Authenticate": HEADER})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _find_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the key that was sent: in the service's own header, or as a bearer's."""
    own, standard = headers.get(HEADER.lower().encode()), headers.get(b"authorization", b"")
    return standard.removeprefix(BEARER) if own is None and standard.startswith(BEARER) else own

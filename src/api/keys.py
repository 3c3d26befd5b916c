"""Who may ask: nobody needs a key unless the service has some; probes never need one."""

from collections.abc import Sequence
from hmac import compare_digest
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

HEADER = "X-API-Key"
_header = APIKeyHeader(name=HEADER, auto_error=False, description="One of API_KEYS, where the service has any")


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


async def require_key(request: Request, key: Annotated[str | None, Security(_header)]) -> None:
    """Reject a request without a key.

    Raises:
        HTTPException: 401 where the service has keys, and this is none.

    """
    if not request.app.state.keys.accept(key and key.encode()):
        raise HTTPException(401, f"send one of the service's keys in the header {HEADER}", {"WWW-Authenticate": HEADER})

"""A program's view of the server: its JSON API, asked over one connection. It blocks, and needs no reactor."""

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ...wire.errors import FieldpostError

ROOT = "/api/v1"
MAX_ANSWER_OCTETS = 64 * 1024 * 1024
_NO_MORE: Mapping[str, str] = {}


class ApiAway(FieldpostError):
    """The server does not answer, or not as itself; the text says why."""


class ApiRefused(FieldpostError):
    """The server answered with an error; `status` is that of HTTP, the text its own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ApiClient:
    """For one thread at a time. Each call raises ApiAway or ApiRefused."""

    def __init__(self, *, host: str, port: int, token: str, ca_file: Path, timeout: float = 5.0) -> None:
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        self._place = f"https://{host}:{port}"

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        self._connection.close()

    def computers(self) -> list[dict[str, Any]]:
        """The computers that the server knows, the first page of them."""
        found: list[dict[str, Any]] = self._call("GET", "/computers")["computers"]
        return found

    def messages(self, after: int) -> tuple[list[dict[str, Any]], int]:
        """The next messages after a cursor, 0 for the first, and the cursor behind them."""
        page = self._call("GET", "/messages?" + urlencode({"after": after, "limit": 1000}))
        return page["messages"], page["next"]

    def add_operation(self, *, computer: int, type: str, fields: dict[str, Any], key: str) -> dict[str, Any]:
        """Ask a computer for an operation; asked again with the same key and fields, it is still one."""
        body = {"computer": computer, "type": type, "fields": fields}
        return self._call("POST", "/operations", body, {"Idempotency-Key": key})

    def operation(self, number: int) -> dict[str, Any]:
        """How an operation is."""
        return self._call("GET", f"/operations/{number}")

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, more: Mapping[str, str] = _NO_MORE
    ) -> dict[str, Any]:
        sent = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, ROOT + path, body=sent, headers={**self._headers, **more})
            answer = self._connection.getresponse()
            octets = answer.read(MAX_ANSWER_OCTETS)
            found = json.loads(octets)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise ApiAway(
                f"the server at {self._place} does not answer as it should: {error or repr(error)}"
            ) from None
        if not isinstance(found, dict) or answer.status >= 300:
            text = found.get("error") if isinstance(found, dict) else None
            raise ApiRefused(
                answer.status, f"the server refuses {method} {path}: {answer.status} {text or ''}".rstrip()
            )
        return found

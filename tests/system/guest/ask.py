"""Asks the server's API: `ask.py METHOD PATH [BODY]`. Prints what it answers; every page of a list, one after the other."""

import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

TOKEN = Path("/etc/credstore/fieldpost-server.api-token").read_text().strip()
BASE = "http://127.0.0.1:8080"


def ask(method: str, path: str, body: str | None = None) -> Any:  # Any: JSON
    """One answer."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = Request(BASE + path, method=method, headers=headers, data=body.encode() if body else None)
    with urlopen(request, timeout=120) as answer:
        return json.load(answer)


def pages(path: str) -> list[Any]:  # Any: JSON
    """All messages of a list, however many."""
    found: list[Any] = []
    after = 0
    while page := (answer := ask("GET", f"{path}&limit=1000&after={after}"))["messages"]:
        found += page
        after = answer["next"]
    return found


answer = pages(sys.argv[2]) if sys.argv[1] == "PAGES" else ask(*sys.argv[1:])
sys.stdout.write(json.dumps(answer))

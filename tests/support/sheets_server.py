"""A local server that speaks the REST paths of Google Sheets v4, and misbehaves as the service does.

It keeps spreadsheets in memory, counts requests against a quota, refuses what the service refuses, and on
demand answers 429, 500 or 503, hangs, resets connections and loses replies after the work was done. Tests
sort its rows and insert columns as people do. It was written from the API's documentation, not from this
project's client.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass
class Tab:
    """One sheet of a spreadsheet: a grid of cells of a given size."""

    title: str
    tab_id: int
    rows: int = 1000
    columns: int = 26
    values: list[list[Any]] = field(default_factory=list)

    def trimmed(self) -> list[list[Any]]:
        """The values as the service returns them: without empty cells at the ends."""
        lines = [list(line) for line in self.values]
        for line in lines:
            while line and line[-1] in ("", None):
                line.pop()
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def put(self, row: int, column: int, value: Any) -> None:
        """Write a cell; null leaves it as it is."""
        if row >= self.rows or column >= self.columns:
            raise Refusal(400, f"Range exceeds grid limits. Max rows: {self.rows}, max columns: {self.columns}")
        if value is None:
            return
        while len(self.values) <= row:
            self.values.append([])
        line = self.values[row]
        line += [""] * (column + 1 - len(line))
        line[column] = value


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Faults:
    """What goes wrong, as fractions of the requests."""

    error: float = 0.0
    hang: float = 0.0
    reset: float = 0.0
    lost_reply: float = 0.0
    hang_s: float = 1.0


class SheetsServer:
    """A service with one spreadsheet.

    Attributes
    ----------
    url
        Base of all addresses.
    tabs
        Title to tab.
    requests
        `(time, kind)` of every request that was counted, kind being read or write.
    """

    def __init__(
        self, gsheet_id: str = "the-sheet", title: str = "Runs", limit: int = 60, window_s: float = 60
    ) -> None:
        self.gsheet_id, self.title = gsheet_id, title
        self.limit, self.window_s = limit, window_s
        self.faults = Faults()
        self.tabs: dict[str, Tab] = {"Sheet1": Tab("Sheet1", 0)}
        self.requests: list[tuple[float, str]] = []
        self.refused = 0
        self.may_write = True
        self.random = random.Random(0)
        self.lock = threading.RLock()
        self._recent: dict[str, deque[float]] = {"read": deque(), "write": deque()}
        self._columns_inserted = 0

    @contextmanager
    def running(self) -> Iterator[SheetsServer]:
        """Serve on a free port of this machine."""
        handler = type("Handler", (_Handler,), {"service": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables that lead a client here, with a service account whose tokens this server gives out."""
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "client_email": "sea@lab.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "token_uri": f"{self.url}/token",
        }
        path = folder / "service_account.json"
        path.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "L3EMBEDDING_SHEETS_API": self.url,
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def table(self, title: str) -> list[dict[str, Any]]:
        """The rows of a tab by heading, as a person sees them; empty cells are left out."""
        with self.lock:
            headings, *lines = self.tabs[title].trimmed()
        return [
            {name: cell for name, cell in zip(headings, line, strict=False) if name and cell != ""} for line in lines
        ]

    def sort_rows(self, title: str) -> None:
        """What a person does to a tab: another order of the rows below the headings."""
        with self.lock:
            tab = self.tabs[title]
            tail = tab.values[1:]
            self.random.shuffle(tail)
            tab.values[1:] = tail

    def insert_column(self, title: str, position: int | None = None) -> None:
        """What a person does to a tab: a column of their own among the others."""
        with self.lock:
            tab = self.tabs[title]
            width = max((len(line) for line in tab.values), default=0)
            position = self.random.randrange(width + 1) if position is None else position
            self._columns_inserted += 1
            tab.columns += 1
            for index, line in enumerate(tab.values):
                line += [""] * (position - len(line))
                line.insert(position, f"note {self._columns_inserted}" if index == 0 else "")

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """Do a request; returns the answer, or raises a `Refusal`."""
        with self.lock:
            self._count("read" if method == "GET" else "write")
            match = re.fullmatch(r"/v4/spreadsheets/([^/:]+)(.*)", path)
            if not match or match.group(1) != self.gsheet_id:
                raise Refusal(404, "Requested entity was not found.")
            if method != "GET" and not self.may_write:
                raise Refusal(403, "The caller does not have permission")
            return self._route(method, match.group(2), query, body)

    def _count(self, kind: str) -> None:
        now = time.monotonic()
        recent = self._recent[kind]
        while recent and recent[0] <= now - self.window_s:
            recent.popleft()
        if len(recent) >= self.limit:
            self.refused += 1
            raise Refusal(429, f"Quota exceeded for quota metric '{kind} requests' per minute per user")
        recent.append(now)
        self.requests.append((now, kind))

    def _route(self, method: str, rest: str, query: dict[str, list[str]], body: Any) -> Any:
        if rest == "" and method == "GET":
            return {
                "spreadsheetId": self.gsheet_id,
                "properties": {"title": self.title},
                "sheets": [{"properties": _properties(tab)} for tab in self.tabs.values()],
            }
        if rest == ":batchUpdate":
            return {"spreadsheetId": self.gsheet_id, "replies": [self._change(each) for each in body["requests"]]}
        if rest == "/values:batchUpdate":
            for part in body["data"]:
                self._write(part["range"], part["values"], body["valueInputOption"])
            return {
                "spreadsheetId": self.gsheet_id,
                "totalUpdatedCells": sum(len(p["values"][0]) for p in body["data"]),
            }
        if rest == "/values:batchGet":
            return {"valueRanges": [self._read(each) for each in query["ranges"]]}
        if match := re.fullmatch(r"/values/(.+):append", rest):
            return self._append(unquote(match.group(1)), query, body["values"])
        if match := re.fullmatch(r"/values/(.+)", rest):
            where = unquote(match.group(1))
            if method == "GET":
                return self._read(where)
            self._write(where, body["values"], query["valueInputOption"][0])
            return {"updatedRange": where}
        raise Refusal(404, f"no such path {rest}")

    def _tab(self, where: str) -> tuple[Tab, int, int]:
        title, _, cells = where.partition("!")
        title = title.strip("'")
        if title not in self.tabs:
            raise Refusal(400, f"Unable to parse range: {where}")
        match = re.match(r"([A-Z]+)(\d+)", cells)
        if not match:
            return self.tabs[title], 0, 0
        column = 0
        for letter in match.group(1):
            column = 26 * column + ord(letter) - 64
        return self.tabs[title], int(match.group(2)) - 1, column - 1

    def _read(self, where: str) -> dict[str, Any]:
        tab, _, _ = self._tab(where)
        answer: dict[str, Any] = {"range": where, "majorDimension": "ROWS"}
        if values := tab.trimmed():
            answer["values"] = values
        return answer

    def _write(self, where: str, values: list[list[Any]], option: str) -> None:
        tab, row, column = self._tab(where)
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                tab.put(row + i, column + j, _entered(value, option))

    def _append(self, where: str, query: dict[str, list[str]], values: list[list[Any]]) -> Any:
        tab, _, column = self._tab(where)
        first = len(tab.trimmed())
        if query.get("insertDataOption") != ["INSERT_ROWS"] or "!" not in where:
            column = 1  # table detection has its own ideas
        del tab.values[first:]
        tab.rows += len(values)
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                tab.put(first + i, column + j, _entered(value, query["valueInputOption"][0]))
        return {"updates": {"updatedRange": f"'{tab.title}'!A{first + 1}"}}

    def _change(self, request: dict[str, Any]) -> Any:
        if "addSheet" in request:
            wanted = request["addSheet"]["properties"]
            if wanted["title"] in self.tabs:
                raise Refusal(
                    400, f'A sheet with the name "{wanted["title"]}" already exists. Please enter another name.'
                )
            size = wanted.get("gridProperties", {})
            tab = Tab(wanted["title"], len(self.tabs), size.get("rowCount", 1000), size.get("columnCount", 26))
            self.tabs[tab.title] = tab
            return {"addSheet": {"properties": _properties(tab)}}
        by_id = {tab.tab_id: tab for tab in self.tabs.values()}
        if "appendDimension" in request:
            change = request["appendDimension"]
            name = "columns" if change["dimension"] == "COLUMNS" else "rows"
            setattr(by_id[change["sheetId"]], name, getattr(by_id[change["sheetId"]], name) + change["length"])
        elif "deleteDimension" in request:
            span = request["deleteDimension"]["range"]
            del by_id[span["sheetId"]].values[span["startIndex"] : span["endIndex"]]
        elif "updateSheetProperties" in request:
            change = request["updateSheetProperties"]["properties"]
            tab, size = by_id[change["sheetId"]], change.get("gridProperties", {})
            tab.rows, tab.columns = size.get("rowCount", tab.rows), size.get("columnCount", tab.columns)
        else:
            raise Refusal(400, f"no such request: {', '.join(request)}")
        return {}


def _properties(tab: Tab) -> dict[str, Any]:
    grid = {"rowCount": tab.rows, "columnCount": tab.columns}
    return {"sheetId": tab.tab_id, "title": tab.title, "index": tab.tab_id, "sheetType": "GRID", "gridProperties": grid}


def _entered(value: Any, option: str) -> Any:
    if option == "USER_ENTERED" and isinstance(value, str) and value.startswith("="):
        return "#ERROR!"
    if isinstance(value, (dict, list)):
        raise Refusal(400, "Invalid values: a cell takes a number, a text or a truth value")
    return value


def _no_constant(name: str) -> Any:
    raise Refusal(400, f"Invalid JSON payload received. {name} is no JSON")


class _Handler(BaseHTTPRequestHandler):
    service: SheetsServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        if url.path == "/token":
            self._send(200, {"access_token": "ya29.SECRET-ACCESS-TOKEN", "expires_in": 3600, "token_type": "Bearer"})
            return
        faults, chance = self.service.faults, self.service.random.random()
        for name in ("error", "hang", "reset", "lost_reply"):
            if chance < getattr(faults, name):
                break
            chance -= getattr(faults, name)
        else:
            name = ""
        if name == "error":
            self._send(*self.service.random.choice([(429, "Quota exceeded"), (500, "Internal"), (503, "Unavailable")]))
            return
        if name == "hang":
            time.sleep(faults.hang_s)
        if name == "reset":
            self._hang_up()
            return
        try:
            if self.headers.get("Authorization") is None:
                raise Refusal(401, "Request is missing required authentication credential.")
            body = json.loads(content, parse_constant=_no_constant) if content else None
            answer = self.service.handle(self.command, url.path, parse_qs(url.query), body)
        except Refusal as refusal:
            self._send(refusal.code, str(refusal))
            return
        if name == "lost_reply":
            self._hang_up()
            return
        self._send(200, answer)

    def _send(self, code: int, answer: Any) -> None:
        if code != 200:
            answer = {"error": {"code": code, "message": answer, "status": "ERROR"}}
        content = json.dumps(answer).encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

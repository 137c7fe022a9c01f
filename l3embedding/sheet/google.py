"""Access to Google Sheets: credentials, and a client with time limits, a request budget and redacted errors.

All failures are `SheetsError`, which never ends a run, and whose text holds no token and no key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gspread
import platformdirs
import requests
from google.auth import exceptions as google_errors
from google.auth.credentials import Credentials

from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

SCOPES = ("https://www.googleapis.com/auth/spreadsheets",)
OAUTH2CLIENT_TOKEN = Path("~/.credentials/sheets.googleapis.com-python-quickstart.json")
_GSPREAD_FOLDER = Path("~/.config/gspread")

API = "https://sheets.googleapis.com"
API_VARIABLE = "L3EMBEDDING_SHEETS_API"
"""Environment variable: another server with the Sheets API v4, such as the tests' own."""

REQUEST_S = 30.0
"""Time limit of one request."""
PER_MINUTE = 45
"""Reads, and writes, per minute of all processes that share a home folder; Google allows a user 60."""
WINDOW_S = 60.0
"""A minute; tests shorten it."""

ATTEMPTS = 7
"""How often a request is sent while the service is busy."""
PAUSE_S = 1.0
"""The first pause, at most."""

_ADVICE = {
    403: "Share the sheet with the account that `sea auth` names, as an editor.",
    404: "Is GSHEET_ID the part of the sheet's URL between /d/ and /edit?",
}

Result = TypeVar("Result")


class SheetsError(InputError):
    """The sheet cannot be reached or written; trying again will not help."""


class SheetsBusy(SheetsError):
    """The service failed for now: over quota, an internal error, or no answer."""


@dataclass(frozen=True)
class Account:
    """An account that can write to the sheet, and the file that it was read from."""

    credentials: Credentials
    kind: str
    """service account, authorized user, or oauth2client token."""
    path: Path
    name: str
    """Its e-mail address or client id, with which the sheet must be shared; never a secret."""


def find_account() -> Account:
    """Load the first credentials that are found.

    The order is: the file that GOOGLE_APPLICATION_CREDENTIALS names, alone; else gspread's own folder
    (`service_account.json`, `authorized_user.json`); else the token of an old oauth2client flow.

    Raises
    ------
    SheetsError
        There are none, or the file holds none; the message says what to do.
    """
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        paths = [Path(named).expanduser()]
    else:
        files = [_GSPREAD_FOLDER / "service_account.json", _GSPREAD_FOLDER / "authorized_user.json", OAUTH2CLIENT_TOKEN]
        paths = [path.expanduser() for path in files]
    for path in paths:
        if path.is_file():
            return _load_account(path)
    raise SheetsError(
        f"No Google credentials: {', '.join(map(str, paths))} not found. Make a service account at "
        "https://console.cloud.google.com/iam-admin/serviceaccounts, put its JSON key at "
        f"{_GSPREAD_FOLDER / 'service_account.json'}, and share the sheet with its e-mail address."
    )


def _load_account(path: Path) -> Account:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("type") or content.get("_class", "")
        if kind == "service_account":
            from google.oauth2.service_account import Credentials as ServiceAccount

            loaded = ServiceAccount.from_service_account_info(content, scopes=SCOPES)
            return Account(loaded, "service account", path, loaded.service_account_email)
        if kind in ("authorized_user", "") and "refresh_token" in content and "_module" not in content:
            from google.oauth2.credentials import Credentials as AuthorizedUser

            loaded = AuthorizedUser.from_authorized_user_info(content, scopes=SCOPES)
            return Account(loaded, "authorized user", path, content.get("account") or f"client {content['client_id']}")
        if "OAuth2Credentials" in kind or "_module" in content:
            return _load_oauth2client(path)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        # The text of a parser's error may quote the file.
        raise SheetsError(f"{path} cannot be read as Google credentials ({type(error).__name__}).") from None
    raise SheetsError(f"{path} holds no Google credentials: its type is {kind!r}.")


def _load_oauth2client(path: Path) -> Account:
    try:
        from oauth2client.file import Storage
    except ImportError:
        raise SheetsError(f"{path} is a token of oauth2client: pip install 'l3embedding[oauth2client]'.") from None
    stored = Storage(str(path)).get()
    if stored is None or stored.invalid:
        raise SheetsError(f"{path} holds a token that has been revoked; use a service account instead.")
    credentials = gspread.utils.convert_credentials(stored)
    return Account(credentials, "oauth2client token", path, f"client {stored.client_id}")


@dataclass
class Budget:
    """Keeps all processes of a user below `limit` requests within `window_s`, through a file that they share.

    Where the file cannot be written, nothing is counted; the service then refuses, and `patiently` waits.
    """

    path: Path
    limit: int
    window_s: float

    def take(self) -> None:
        """Wait until a request may be sent, and count it."""
        while wait := self._try(time.time()):
            time.sleep(wait)

    def _try(self, now: float) -> float:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                recent = [float(line) for line in file.read().split() if now - self.window_s < float(line) <= now]
                if len(recent) >= self.limit:
                    return max(0.01, recent[0] + self.window_s - now)
                file.seek(0)
                file.truncate()
                file.write("\n".join(map(str, [*recent, now])))
        except (OSError, ValueError) as error:
            logger.debug("%s: %s", self.path, error)
        return 0.0


class PatientClient(gspread.HTTPClient):
    """gspread's client with a time limit, a budget shared by all processes, and errors that say what to do."""

    def __init__(self, auth: Credentials, session: Any = None) -> None:
        super().__init__(auth, session)
        self.set_timeout(REQUEST_S)
        self.api = os.environ.get(API_VARIABLE, API)
        folder = platformdirs.user_cache_path("l3embedding")
        # The quota is per user and project, which the account identifies.
        account = getattr(auth, "service_account_email", None) or getattr(auth, "client_id", None) or "user"
        name = hashlib.sha256(f"{account} {self.api}".encode()).hexdigest()[:12]
        files = {kind: folder / f"sheets-{kind}-{name}.txt" for kind in ("read", "write")}
        self.budgets = {kind: Budget(path, PER_MINUTE, WINDOW_S) for kind, path in files.items()}

    def request(self, method: str, endpoint: str, *arguments: Any, **options: Any) -> requests.Response:
        """Send one request, once. After `SheetsBusy` it may have been carried out or not: read before trying again."""
        self.budgets["read" if method.lower() == "get" else "write"].take()
        try:
            return super().request(method, endpoint.replace(API, self.api, 1), *arguments, **options)
        except gspread.exceptions.APIError as error:
            status = error.response.status_code
            message = redact(f"{status} {error.error.get('status', '')}: {error.error.get('message', '')}")
            if status == 429 or status >= 500:
                raise SheetsBusy(f"Google Sheets: {message}") from None
            raise SheetsError(f"Google Sheets: {message} {_ADVICE.get(status, '')}".strip()) from None
        except google_errors.GoogleAuthError as error:
            name = type(error).__name__
            if error.retryable or isinstance(error, google_errors.TransportError):
                raise SheetsBusy(f"Google cannot renew the credentials now ({name}).") from None
            message = f"Google does not accept the credentials ({name}); `sea auth` prints which they are."
            raise SheetsError(message) from None
        except requests.RequestException as error:
            raise SheetsBusy(f"Google Sheets did not answer ({type(error).__name__}).") from None


def open_sheet(gsheet_id: str, account: Account) -> gspread.Spreadsheet:
    """Open a spreadsheet."""
    return gspread.Client(account.credentials, http_client=PatientClient).open_by_key(gsheet_id)


def patiently(action: Callable[[], Result]) -> Result:
    """Do something that is safe to repeat, up to `ATTEMPTS` times while the service is busy, with pauses."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except SheetsBusy as error:
            pause(attempt, error)
    return action()


def pause(attempt: int, error: SheetsBusy) -> None:
    """Wait after an attempt, counted from 0: twice as long each time, at most a minute, randomly shortened."""
    seconds = min(60.0, PAUSE_S * 2.0**attempt) * random.uniform(0.5, 1.0)
    logger.info("%s Trying again in %.0f s.", error, seconds)
    time.sleep(seconds)


def redact(text: str) -> str:
    """Remove from a text whatever looks like a token or a key."""
    text = re.sub(r"-----BEGIN.*?(-----END[^-]*-----|$)", "[key]", text, flags=re.DOTALL)
    text = re.sub(r"\b(ya29\.|1//|GOCSPX-|Bearer\s+|eyJ)[\w.\-/~+=]+", "[secret]", text)
    return re.sub(r"(?i)(token|secret|password|private_key)(\w*\W+)[\w.\-/+=]{8,}", r"\1\2[secret]", text)

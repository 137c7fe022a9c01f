"""gspread against a service that fails and a sheet that people rearrange: one row per run, with its last values."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l3embedding.jobs.journal import Journal, find_runs
from l3embedding.settings import TrackingSettings
from l3embedding.sheet import google
from l3embedding.sheet.google import SheetsBusy, SheetsError, find_account, redact
from l3embedding.sheet.rows import DOWNSTREAM, UPSTREAM
from l3embedding.sheet.sync import Follower, sync_runs
from tests.conftest import REPOSITORY
from tests.support.sheets_server import Faults, SheetsServer

SHEET = TrackingSettings(gsheet_id="the-sheet")
SPEED = 200
"""How many times faster minutes and pauses pass than at Google."""


@pytest.fixture
def service(tmp_path, monkeypatch) -> Iterator[SheetsServer]:
    """A fast service, credentials that it accepts, and a client with pauses as short."""
    with SheetsServer(limit=60, window_s=60 / SPEED).running() as server:
        server.faults = Faults(hang_s=0.5)
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        _hurry(monkeypatch.setattr)
        yield server


def _hurry(setattr_) -> None:
    """Let the client's minute and its pauses pass as fast as the service's."""
    setattr_(google, "PAUSE_S", 1 / SPEED)
    setattr_(google, "REQUEST_S", 0.4)
    setattr_(google, "WINDOW_S", 60 / SPEED)


def _run(folder: Path, name: str, epochs: int = 2, **parameters) -> Journal:
    (folder / name).mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / name)
    facts = {"stage": "03-train-approx-embedding", "output_dir": str(folder / name), "user": "ada", "job_id": "7"}
    journal.append("started", run_id=name, **facts, parameters={"student": {"dim": 64}} | parameters, inputs={})
    for epoch in range(1, epochs + 1):
        journal.append("epoch", epoch=epoch, valid_loss=1 / epoch, train_loss=2 / epoch, valid_mae=3 / epoch)
    return journal


def _sync(folder: Path) -> int:
    return sync_runs(find_runs(folder), SHEET)


def test_a_new_sheet_gets_both_tabs_with_the_documented_headings(service, tmp_path):
    _run(tmp_path, "one")
    journal = Journal(tmp_path)
    parameters = {"dataset": {"name": "sonyc_ust"}, "seed": 0}
    journal.append("started", run_id="two", stage="06-train-classifier", parameters=parameters, output_dir="/x")
    journal.status("finished", results={"coarse": {"micro_auprc": 0.8, "class_auprc": {"dog": 0.5}}})
    assert _sync(tmp_path) > 0
    for tab in (UPSTREAM, DOWNSTREAM):
        assert service.tabs[tab.name].trimmed()[0] == list(tab.headings)
    (upstream,), (downstream,) = service.table(UPSTREAM.name), service.table(DOWNSTREAM.name)
    assert (upstream["Run ID"], upstream["Latest Epoch"], upstream["Best Valid Loss"]) == ("one", 2, 0.5)
    assert (downstream["Run ID"], downstream["Micro AUPRC"], downstream["Status"]) == ("two", 0.8, "finished")


def test_a_second_sync_changes_nothing_and_writes_nothing(service, tmp_path):
    _run(tmp_path, "one")
    _sync(tmp_path)
    before = [kind for _, kind in service.requests].count("write")
    assert _sync(tmp_path) == 0
    assert [kind for _, kind in service.requests].count("write") == before


def test_a_row_is_updated_in_place_and_a_requeued_run_keeps_it(service, tmp_path):
    journal = _run(tmp_path, "one")
    _run(tmp_path, "two")
    _sync(tmp_path)
    journal.status("requeued")
    _sync(tmp_path)
    assert [row["Status"] for row in service.table(UPSTREAM.name)] == ["requeued", "running"]
    _run(tmp_path, "one", epochs=5)
    _sync(tmp_path)
    rows = {row["Run ID"]: row for row in service.table(UPSTREAM.name)}
    assert len(service.table(UPSTREAM.name)) == 2
    assert (rows["one"]["Status"], rows["one"]["Latest Epoch"]) == ("running", 5)


def _authors_sheet(service: SheetsServer, rows: int) -> list[list]:
    """A tab as the authors' users have it: the documented headings, and rows that we know nothing of."""
    tab = type(service.tabs["Sheet1"])(UPSTREAM.name, 9, rows + 1, len(UPSTREAM.columns))
    tab.values = [list(UPSTREAM.columns)]
    tab.values += [[f"user{row}", f"/models/{row}", *(row + n / 100 for n in range(26))] for row in range(rows)]
    service.tabs[UPSTREAM.name] = tab
    return [list(line) for line in tab.values[1:]]


def test_a_sheet_with_2000_rows_of_others_keeps_them_and_gets_our_columns_at_the_right(service, tmp_path):
    theirs = _authors_sheet(service, 2000)
    _run(tmp_path, "one")
    _sync(tmp_path)
    values = service.tabs[UPSTREAM.name].trimmed()
    assert values[0] == list(UPSTREAM.headings)
    assert values[1:2001] == theirs
    assert service.table(UPSTREAM.name)[2000]["Run ID"] == "one"


def test_a_row_that_has_no_run_id_yet_is_found_by_its_model_dir(service, tmp_path):
    _authors_sheet(service, 3)
    service.tabs[UPSTREAM.name].values[2][1] = str(tmp_path / "one")
    _run(tmp_path, "one")
    _sync(tmp_path)
    rows = service.table(UPSTREAM.name)
    assert len(rows) == 3
    assert (rows[1]["Run ID"], rows[1]["Username"]) == ("one", "ada")


def test_text_stays_text_and_numbers_stay_numbers(service, tmp_path):
    distillation = {"learning_rate": float("nan"), "epochs": 300}
    journal = _run(tmp_path, "one", reduction={"mode": '=IMPORTXML("http://evil")'}, distillation=distillation)
    journal.append("epoch", epoch=3, valid_loss=float("inf"))
    _sync(tmp_path)
    (row,) = service.table(UPSTREAM.name)
    assert row["Approximation mode"] == '=IMPORTXML("http://evil")'
    assert (row["Learning Rate"], row["Latest Valid Loss"], row["# Epochs"]) == ("NaN", "Infinity", 300)
    assert row["Job ID"] == "7"


@pytest.mark.parametrize("fault", ["error", "hang", "reset", "lost_reply"])
def test_a_service_that_fails_half_of_the_time_costs_only_time(service, tmp_path, fault):
    for name in ("one", "two", "three"):
        _run(tmp_path, name)
    setattr(service.faults, fault, 0.5 if fault != "hang" else 0.3)
    for _ in range(20):
        try:
            _sync(tmp_path)
            break
        except SheetsBusy:
            continue
    assert sorted(row["Run ID"] for row in service.table(UPSTREAM.name)) == ["one", "three", "two"]


def test_people_sort_move_and_annotate_between_syncs_and_lose_nothing(service, tmp_path):
    theirs = _authors_sheet(service, 30)
    for name in ("one", "two"):
        _run(tmp_path, name)
    _sync(tmp_path)
    for epochs in range(3, 9):
        service.sort_rows(UPSTREAM.name)
        service.insert_column(UPSTREAM.name)
        headings, *lines = service.tabs[UPSTREAM.name].values
        note = next(index for index, heading in enumerate(headings) if heading == f"note {epochs - 2}")
        for row, line in enumerate(lines):
            line[note] = f"remark {row}"
        before = {row.get("Run ID", row["Model Dir"]): row for row in service.table(UPSTREAM.name)}
        for name in ("one", "two"):
            _run(tmp_path, name, epochs)
        _sync(tmp_path)
        for row in service.table(UPSTREAM.name):
            was = before[row.get("Run ID", row["Model Dir"])]
            assert [row[key] for key in row if key.startswith("note")] == [
                was[key] for key in was if key.startswith("note")
            ]
    rows = service.table(UPSTREAM.name)
    ours = {row["Run ID"]: row for row in rows if "Run ID" in row}
    assert len(rows) == 32
    assert {name: row["Latest Epoch"] for name, row in ours.items()} == {"one": 8, "two": 8}
    kept = [[row[heading] for heading in UPSTREAM.columns] for row in rows if "Run ID" not in row]
    assert sorted(kept) == sorted(theirs)


def test_many_runs_stay_within_the_quota_of_a_user(service, tmp_path):
    """A hundred runs, and one request per tab and round for all of them."""
    for index in range(100):
        _run(tmp_path, f"{index:03}")
    _sync(tmp_path)
    assert len(service.requests) < 15
    assert service.refused == 0
    assert len(service.table(UPSTREAM.name)) == 100


def test_processes_share_one_budget(tmp_path, monkeypatch):
    one, other = (google.Budget(tmp_path / "budget", limit=3, window_s=0.4) for _ in range(2))
    started = time.monotonic()
    for budget in (one, other, one, other):
        budget.take()
    assert time.monotonic() - started >= 0.35


def test_a_run_continues_whatever_the_service_does(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    _run(tmp_path, "one")
    with Follower(tmp_path / "one", SHEET):
        pass
    assert "`sea sync` brings the sheet up to date" in caplog.text


def test_a_follower_keeps_the_row_up_to_date(service, tmp_path):
    journal = _run(tmp_path, "one")
    with Follower(tmp_path / "one", SHEET, every_s=0.05):
        deadline = time.monotonic() + 20
        while not service.tabs.get(UPSTREAM.name) or len(service.tabs[UPSTREAM.name].values) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        journal.append("epoch", epoch=9, valid_loss=0.1)
        journal.status("finished", results={})
    (row,) = service.table(UPSTREAM.name)
    assert (row["Latest Epoch"], row["Status"]) == (9, "finished")


WRITER = """
import sys, time
from pathlib import Path
from l3embedding.sheet import google
from tests.sheet.test_sync import SHEET, _hurry, _run
from l3embedding.sheet.sync import Follower
_hurry(setattr)
google.ATTEMPTS = 3
folder, name = Path(sys.argv[1]), sys.argv[2]
journal = _run(folder, name, epochs=0)
with Follower(folder / name, SHEET, every_s=0.2):
    for epoch in range(1, 21):
        journal.append("epoch", epoch=epoch, valid_loss=1 / epoch)
        time.sleep(0.05)
    journal.status("finished", results={})
"""


SYNC = """
import sys
from tests.sheet.test_sync import _hurry
from l3embedding.cli.sea import main
_hurry(setattr)
sys.exit(main())
"""


def test_fifty_writers_with_faults_and_kills_end_with_one_row_each_and_its_last_values(tmp_path):
    chance = random.Random(7)
    with SheetsServer(limit=60, window_s=60 / SPEED).running() as service:
        service.faults = Faults(error=0.15, hang=0.03, reset=0.08, lost_reply=0.08, hang_s=0.5)
        environment = os.environ | service.environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
        names = [f"run-{index:02}" for index in range(50)]
        writers = [_start(tmp_path / "runs", name, environment) for name in names]
        while len(find_runs(tmp_path / "runs")) < 50:
            time.sleep(0.2)
        for writer in chance.sample(writers, 20):
            writer.send_signal(signal.SIGKILL)
            time.sleep(0.05)
        for writer in writers:
            writer.wait(timeout=120)
        for _ in range(30):
            synced = subprocess.run(
                [sys.executable, "-c", SYNC, "sync", str(tmp_path / "runs"), "--gsheet-id", "the-sheet"],
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
            )
            if "up to date" in synced.stdout:
                break
        assert synced.returncode == 0, synced.stderr
        rows = {row["Run ID"]: row for row in service.table(UPSTREAM.name)}
        assert len(service.table(UPSTREAM.name)) == len(rows) == 50
    for run in find_runs(tmp_path / "runs"):
        row = rows[run.run_id]
        assert row["Status"] == run.status
        assert row.get("Latest Epoch") == (run.epochs[-1]["epoch"] if run.epochs else None)
        assert row["Updated"] == run.updated


def _start(folder: Path, name: str, environment: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(folder), name]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_no_secret_reaches_a_message(service, tmp_path, caplog):
    key = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())["private_key"]
    _run(tmp_path, "one")
    service.may_write = False
    with pytest.raises(SheetsError, match="Share the sheet with the account") as refused:
        _sync(tmp_path)
    with pytest.raises(SheetsError, match="Is GSHEET_ID the part of") as unknown:
        sync_runs(find_runs(tmp_path), TrackingSettings(gsheet_id="another"))
    messages = f"{refused.value}{unknown.value}{caplog.text}{(tmp_path / 'one' / 'journal.jsonl').read_text()}"
    for secret in ("SECRET", "ya29", key.splitlines()[3]):
        assert secret not in messages


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer ya29.A0ARrdaM-SECRETx",
        "refresh_token=1//0SECRETabcdef",
        '"client_secret": "GOCSPX-SECRETabcdef"',
        "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----",
        "private_key_id: SECRETabcdef",
    ],
)
def test_what_looks_like_a_secret_is_removed(text):
    assert "SECRET" not in redact(text)


def test_credentials_are_named_and_bad_ones_come_with_advice(service, tmp_path, monkeypatch):
    account = find_account()
    assert (account.kind, account.name) == ("service account", "sea@lab.iam.gserviceaccount.com")
    bad = tmp_path / "bad.json"
    for content, message in (("{", "cannot be read"), ('{"type": "other"}', "holds no Google credentials")):
        bad.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(bad))
        with pytest.raises(SheetsError, match=message):
            find_account()
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SheetsError, match="Make a service account"):
        find_account()


def test_an_authorized_user_and_an_old_oauth2client_token_are_accepted(service, tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("HOME", str(tmp_path))
    token = {"client_id": "me", "client_secret": "s", "refresh_token": "r", "token_uri": f"{service.url}/token"}
    old = tmp_path / ".credentials" / "sheets.googleapis.com-python-quickstart.json"
    old.parent.mkdir()
    old.write_text(json.dumps(_OAUTH2CLIENT | token))
    pytest.importorskip("oauth2client", reason="oauth2client is an optional extra")
    assert (find_account().kind, find_account().name) == ("oauth2client token", "client me")
    _run(tmp_path, "one")
    assert _sync(tmp_path) > 0
    new = tmp_path / ".config" / "gspread" / "authorized_user.json"
    new.parent.mkdir(parents=True)
    new.write_text(json.dumps({"type": "authorized_user"} | token))
    assert (find_account().kind, find_account().name) == ("authorized user", "client me")


_OAUTH2CLIENT = {
    "_class": "OAuth2Credentials",
    "_module": "oauth2client.client",
    "access_token": "ya29.old",
    "token_expiry": "2020-01-01T00:00:00Z",
    "token_response": {},
    "scopes": ["https://www.googleapis.com/auth/spreadsheets"],
    "token_info_uri": None,
    "id_token": None,
    "id_token_jwt": None,
    "invalid": False,
    "user_agent": "old",
    "revoke_uri": None,
}

"""The server from the browser's side: what it does, and all that it refuses, with a message."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.review.conftest import KEY, OWN, picture, png

from bandbridge.dataset.archive import Bounds
from bandbridge.karyotype import CLASSES
from bandbridge.review.actions import Review
from bandbridge.review.guard import Door
from bandbridge.review.schema import Incoming
from bandbridge.review.server import make_app
from bandbridge.review.worker import Worker


def sheet_of(browser, cell):
    return browser.get(f"/api/cells/{cell}").json()


def by_file(sheet, file):
    return next(one for one in sheet["chromosomes"] if one["file"] == file)


# What it does


def test_a_cell_handed_in_is_sorted_and_shown(browser, cell):
    sheet = sheet_of(browser, cell)
    assert (sheet["name"], sheet["state"], sheet["images"], sheet["flagged"]) == ("c1", "ready", 5, 1)
    assert [len(sheet["order"][label]) for label in ("21", "X", "Y", "1", "")] == [3, 1, 1, 0, 0]
    found = next(one for one in sheet["findings"] if one["label"] == "21")
    assert found["text"] == "3 of chromosome 21, 2 expected" and found["extra"] and not found["possible"]
    unsure = by_file(sheet, "21c-unsure.png")
    assert unsure["open"] and unsure["ranked"][0] == ["21", 0.6] and len(unsure["ranked"]) == 24
    state = browser.get("/api/state").json()
    assert state["model"] == "the model" and state["waiting"] == 0 and [one["id"] for one in state["cells"]] == [cell]


def test_pictures_are_trimmed_turned_and_as_large_as_said(browser, cell):
    one = by_file(sheet_of(browser, cell), "21a.png")
    shown = np.asarray(Image.open(io.BytesIO(browser.get(one["tile"]).content)))
    np.testing.assert_array_equal(shown, picture(0))
    assert (one["height"], one["width"]) == shown.shape
    flipped = browser.get(one["tile"].replace("flipped=0", "flipped=1"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(flipped.content))), picture(0)[::-1, ::-1])
    large = np.asarray(Image.open(io.BytesIO(browser.get(one["large"]).content)))
    np.testing.assert_array_equal(large, np.repeat(np.kron(picture(0), np.ones((20, 20), np.uint8))[..., None], 3, 2))
    assert large.shape == (240, 120, 3) and "immutable" in flipped.headers["cache-control"]
    cam = browser.get(f"/api/chromosomes/{cell}/{one['id']}/X.png")
    assert set(np.asarray(Image.open(io.BytesIO(cam.content))).ravel().tolist()) == {CLASSES.index("X")}


def test_corrections_change_counts_at_once_and_can_be_taken_back(browser, cell, act):
    one = by_file(sheet_of(browser, cell), "21c-unsure.png")
    moved = act(cell, "place", chromosome=one["id"], label="22").json()
    assert "21" not in {finding["label"] for finding in moved["findings"]} and moved["flagged"] == 0
    assert moved["order"]["22"] == [one["id"]] and by_file(moved, one["file"])["corrected"]
    turned = act(cell, "turn", chromosome=one["id"], angle=12.5, flipped="1").json()
    assert (by_file(turned, one["file"])["angle"], by_file(turned, one["file"])["flipped"]) == (12.5, True)
    undone = act(cell, "undo").json()
    assert undone["chromosome"] == one["id"] and not by_file(undone, one["file"])["flipped"]
    assert act(cell, "undo").json()["flagged"] == 1
    assert act(cell, "redo").json()["flagged"] == 0
    assert sheet_of(browser, cell)["redo"]


def test_an_accepted_cell_is_closed_until_it_is_opened_again(browser, cell, act):
    one = by_file(sheet_of(browser, cell), "Xa.png")["id"]
    assert act(cell, "accept", accepted=True).json()["accepted"]
    for action, values in (("place", {"label": "Y"}), ("turn", {"angle": 3})):
        refused = act(cell, action, chromosome=one, **values)
        assert refused.status_code == 409 and "accepted" in refused.json()["message"]
    assert not act(cell, "accept", accepted=False).json()["accepted"]
    assert act(cell, "place", chromosome=one, label="Y").status_code == 200


def test_everything_is_there_again_after_a_restart(browser, cell, act, review):
    one = by_file(sheet_of(browser, cell), "Xa.png")["id"]
    moved = act(cell, "place", chromosome=one, label="").json()
    again = Review(review.store, Worker(review.store, review.worker.analyst, "another model"))
    with TestClient(make_app(again, Door(KEY, frozenset({"localhost"}))), "http://localhost") as other:
        other.get(f"/?key={KEY}")
        shown = sheet_of(other, cell)
        assert shown == {name: moved[name] for name in shown} and moved["model"] == "the model"


def test_cells_left_waiting_are_sorted_on_the_next_start(store, review, tmp_path):
    waiting, _ = store.add_cell(Incoming("c9", (("7a.png", store.put_image(picture(1))),)))
    with TestClient(make_app(review, Door(KEY, frozenset({"localhost"}))), "http://localhost"):
        review.worker.wait()
    assert store.sheet(waiting).sheet.chromosomes[0].placed == "7"


def test_a_cell_that_cannot_be_sorted_says_why_and_the_next_is_sorted(browser, hand_in, act, review):
    answer = hand_in({"broken/1a.png": png(1), "fine/1a.png": png(2)}).json()
    broken, fine = browser.get("/api/state").json()["cells"]
    assert (broken["state"], fine["state"]) == ("failed", "ready") and "no such banding" in broken["problem"]
    assert act(answer["cells"][0], "retry").status_code == 200
    review.worker.wait()
    assert act(broken["id"], "remove").json()["cells"][0]["name"] == "fine"
    assert browser.get(f"/api/cells/{broken['id']}").status_code == 404


def test_patient_and_stain_are_kept_as_plain_text(browser, cell, act):
    described = act(cell, "describe", patient=' =p7 <b>"', stain="Q\x00").json()
    assert (described["patient"], described["stain"]) == ('=p7 <b>"', "Q\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("action", "values"),
    [
        ("place", {"label": "X"}),
        ("turn", {"angle": 5}),
        ("accept", {"accepted": True}),
        ("undo", {}),
        ("redo", {}),
        ("describe", {"patient": "p1"}),
        ("remove", {}),
        ("retry", {}),
    ],
)
def test_every_action_says_which_version_it_changes_and_a_stale_one_is_refused(browser, cell, act, action, values):
    old = sheet_of(browser, cell)
    one = by_file(old, "Xa.png")["id"]
    act(cell, "describe", patient="p9")
    now = sheet_of(browser, cell)
    assert now["version"] == old["version"] + 1
    for version, status, words in (
        (old["version"], 409, "another window"),
        (None, 400, "version"),
        (True, 400, "version"),
    ):
        refused = act(cell, action, chromosome=one, **values, version=version)
        assert refused.status_code == status and words in refused.json()["message"]
    assert sheet_of(browser, cell) == now
    assert act(cell, action, chromosome=one, **values, version=now["version"]).status_code == 200


def test_what_was_not_done_is_not_told_as_done(browser, cell, act):
    for action in ("undo", "redo"):
        assert not act(cell, action).json()["done"]
    one = by_file(sheet_of(browser, cell), "Xa.png")["id"]
    assert [act(cell, "place", chromosome=one, label="X").json()["done"] for _ in range(2)] == [True, False]
    assert [act(cell, "undo").json()["done"] for _ in range(2)] == [True, False]
    assert [act(cell, "accept", accepted=True).json()["done"] for _ in range(2)] == [True, False]


# Files that are refused


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_a_zip_of_cells_is_read_and_named_by_folder(hand_in, browser):
    answer = hand_in({"slide.zip": zipped({"a/1a.png": png(1), "a/1b.png": png(2), "b/2a.png": png(3)})}).json()
    assert (answer["new"], answer["problems"]) == (2, [])
    assert [(one["name"], one["images"]) for one in browser.get("/api/state").json()["cells"]] == [("a", 2), ("b", 1)]


def test_cells_of_the_same_name_in_two_archives_are_two(hand_in, browser):
    """Two patients' archives, each with a folder "cell 1": no chromosome of one may come into a cell of the other."""
    table = b"file_name,label,cell\n2a.png,2,one\n"
    answer = hand_in(
        {
            "anna.zip": zipped({"cell 1/1a.png": png(1), "cell 1/1b.png": png(2), "only/3a.png": png(3)}),
            "berta.zip": zipped({"cell 1/1a.png": png(4)}),
            "c.zip": zipped({"metadata.csv": table, "2a.png": png(5)}),
            "d.zip": zipped({"metadata.csv": table, "2a.png": png(6)}),
        }
    ).json()
    assert (answer["new"], answer["problems"]) == (5, [])
    found = [(one["name"], one["images"]) for one in browser.get("/api/state").json()["cells"]]
    assert sorted(found) == [("anna/cell 1", 2), ("berta/cell 1", 1), ("c/one", 1), ("d/one", 1), ("only", 1)]


def test_the_same_cell_twice_is_one(hand_in, cell):
    files = {f"c1/{name}.png": png(seed) for seed, name in enumerate(("21a", "21b", "21c-unsure", "Xa", "Ya"))}
    assert hand_in(files).json() == {"cells": [cell], "new": 0, "patients": [], "problems": []}


def test_the_folder_of_one_patient_gives_its_cells_the_patient_at_once(hand_in, browser):
    answer = hand_in({"Anna/cell 1/1a.png": png(1), "Anna/cell 2/2a.png": png(2)}).json()
    assert (answer["new"], answer["patients"]) == (2, ["Anna"])
    assert [sheet_of(browser, cell)["patient"] for cell in answer["cells"]] == ["Anna"] * 2
    more = hand_in({"Berta/cell 1/1a.png": png(3)}).json()
    assert more["patients"] == ["Berta"] and sheet_of(browser, more["cells"][0])["of_patient"]["cells"] == 1


def test_a_wrong_type_is_refused_by_name_and_the_rest_is_taken(hand_in, browser):
    answer = hand_in(
        {"c/1a.png": png(1), "c/report.pdf": b"%PDF-1.7 ...", "c/2a.png": b"\x89PNG\r\n\x1a\nbroken"}
    ).json()
    assert answer["new"] == 1 and len(answer["problems"]) == 2
    assert "c/report.pdf: not a PNG, BMP, TIFF or JPEG" in answer["problems"][0] and "c/2a.png" in answer["problems"][1]
    # Its cell says so too: what could not be read must not look as if it were missing.
    notes = sheet_of(browser, answer["cells"][0])["notes"]
    assert len(notes) == 2 and "c/report.pdf" in notes[0]


def test_a_zip_bomb_is_refused_whole(hand_in, browser, review):
    object.__setattr__(review, "bounds", Bounds(member=2**20, total=2**30, ratio=20, free=2**16))
    bomb = {f"c/{number}a.png": bytes(2**19) for number in range(1, 5)}
    answer = hand_in({"bomb.zip": zipped({"c/5a.png": png(1), **bomb})}).json()
    assert answer["cells"] == [] and "bomb.zip unpacks to more than" in answer["problems"][0]
    assert "decompression bomb" in answer["problems"][0] and str(review.store.folder) not in answer["problems"][0]
    lone = hand_in({"large.zip": zipped({"c/1a.png": bytes(2**20 + 1)})}).json()
    assert lone["cells"] == [] and "large.zip: c/1a.png unpacks to" in lone["problems"][0]
    assert browser.get("/api/state").json()["cells"] == [] and not list(review.store.folder.glob(".incoming*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("../../../etc/passwd.png", "leads out of the archive"), ("/etc/1a.png", "leads out"), ("notes.txt", "no image")],
)
def test_archives_that_lead_out_or_hold_no_image_are_refused(hand_in, name, words):
    answer = hand_in({"odd.zip": zipped({name: png(1)})}).json()
    assert answer["cells"] == [] and words in answer["problems"][0] and "odd.zip" in answer["problems"][0]


def test_an_archive_that_is_none(hand_in):
    answer = hand_in({"odd.zip": b"PK\x03\x04 and no more", "not.zip": b"text"}).json()
    assert (
        answer["cells"] == [] and ["odd.zip" in text or "not.zip" in text for text in answer["problems"]] == [True] * 2
    )


def test_names_are_only_ever_text(hand_in, browser, review):
    evil = "<img src=x onerror=alert('1')>"
    answer = hand_in({f"../..\\{evil}/7a.png": png(1), "../../../../tmp/8a.png": png(2)}).json()
    names = {one["name"] for one in browser.get("/api/state").json()["cells"]}
    assert names == {evil, "tmp"} and len(answer["cells"]) == 2
    held = sorted(path.relative_to(review.store.folder).as_posix() for path in review.store.folder.rglob("*"))
    assert [name for name in held if name.startswith("images/")] == sorted(
        f"images/{review.store.images_of(one)[0][1]}.png" for one in answer["cells"]
    )
    assert browser.get("/api/state").headers["content-type"] == "application/json"
    assert evil not in browser.get("/").text


def test_too_large_a_file_is_named_and_too_large_a_request_is_stopped(hand_in, browser, review, monkeypatch):
    monkeypatch.setattr("bandbridge.review.uploads.MAX_IMAGE_BYTES", 2**20)
    answer = hand_in({"c/huge.png": bytes(2**20 + 1), "c/1a.png": png(1)}).json()
    assert answer["new"] == 1 and answer["problems"][0].startswith("c/huge.png is larger than 1 MiB")
    small = Door(KEY, frozenset({"127.0.0.1"}), max_upload=2000)
    again = Review(review.store, Worker(review.store, review.worker.analyst, "the model"))
    with TestClient(make_app(again, small), "http://127.0.0.1:7800") as other:
        other.get(f"/?key={KEY}")
        told = other.post("/api/cells", files=[("files", ("a.png", bytes(3000)))], headers=OWN)
        # Sent in pieces, without saying how long it is.
        body = (
            piece
            for piece in [b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n', bytes(3000)]
        )
        silent = other.post(
            "/api/cells", content=body, headers={**OWN, "content-type": "multipart/form-data; boundary=x"}
        )
    for refused in (told, silent):
        assert refused.status_code == 413 and "refused" in refused.json()["message"]


def test_a_whole_metaphase_and_a_folder_of_many_cells_are_no_cell(hand_in):
    many = {f"all/1a{number}.png": png(number) for number in range(151)}
    answer = hand_in({"m/metaphase.png": png(1, 1100, 1300), **many}).json()
    assert answer["cells"] == []
    assert "1300 x 1100 pixels are more than one chromosome" in answer["problems"][0]
    assert "151 images are not one cell" in answer["problems"][1]


# Requests that are refused


@pytest.mark.parametrize(
    "path",
    [
        "/images/../../etc/passwd",
        "/images/..%2f..%2fetc%2fpasswd/tile.png",
        "/images/%2e%2e/%2e%2e/etc/passwd",
        "/images/..%2freview.sqlite/tile.png",
        f"/images/{'0' * 64}/tile.png",
        "/static/../review.sqlite",
        "/static/..%2f..%2fstore.py",
        "/static/review.html",
        "/exports/../review.sqlite",
        "/exports/..%2f..%2fwork%2freview.zip",
        "/exports/..zip",
        "/exports/2026-01-01T000000Z.zip",
        "/review.sqlite",
        "/key",
        "/api/cells/1",
    ],
)
def test_nothing_but_its_own_pictures_and_files_is_served(browser, path):
    # As a client that does not tidy the path first.
    answer = browser.request("GET", f"http://127.0.0.1:7800{path}")
    assert answer.status_code == 404 and b"root:" not in answer.content and b"SQLite" not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {"x-bandbridge": "review", "origin": "https://evil.example"},
        {"x-bandbridge": "review", "origin": "null"},
        {"x-bandbridge": "review", "origin": "http://127.0.0.1:7801"},
        {"x-bandbridge": "review", "sec-fetch-site": "cross-site"},
        {"x-bandbridge": "review", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:7800"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/api/cells/1/place", "/api/cells/1/accept", "/api/cells", "/api/export"])
def test_a_foreign_page_can_write_nothing(browser, cell, headers, path):
    one = sheet_of(browser, cell)["chromosomes"][0]["id"]
    answer = browser.post(
        path, json={"chromosome": one, "label": "X", "accepted": True, "reader": "Anna"}, headers=headers
    )
    assert answer.status_code == 403 and "own page" in answer.json()["message"]
    sheet = sheet_of(browser, cell)
    assert not sheet["undo"] and not sheet["accepted"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7800", "127.0.0.1.evil.example", "192.168.1.5:7800", "", "["]
)
def test_a_name_that_is_not_this_machine_is_refused(browser, host):
    answer = browser.get("/api/state", headers={"host": host})
    assert answer.status_code == 421 and "not called" in answer.json()["message"]
    assert browser.get("/api/state", headers={"host": "localhost:9000"}).status_code == 200


def test_on_an_open_address_numbers_are_let_in_and_names_are_not(review):
    door = Door(KEY, frozenset({"127.0.0.1", "lab-pc"}), any_address=True)
    with TestClient(make_app(review, door), "http://192.168.1.5:7800") as client:
        assert client.get(f"/?key={KEY}").status_code == 200
        assert client.get("/api/state", headers={"host": "[fe80::1]:7800"}).status_code == 200
        assert client.get("/api/state", headers={"host": "lab-pc"}).status_code == 200
        assert client.get("/api/state", headers={"host": "evil.example"}).status_code == 421


def test_without_the_key_nothing_is_seen(review):
    with TestClient(make_app(review, Door(KEY, frozenset({"127.0.0.1"}))), "http://127.0.0.1:7800") as stranger:
        for path in ("/", "/?key=wrong", "/api/state", "/static/review.js", f"/api/state?key={KEY}"):
            answer = stranger.get(path)
            assert (
                answer.status_code == 403 and "key" in answer.json()["message"] and "set-cookie" not in answer.headers
            )
        assert stranger.post(f"/?key={KEY}", headers=OWN).status_code == 403
        stranger.cookies.set("bandbridge_review", "wrong")
        assert stranger.get("/").status_code == 403
        given = stranger.get(f"/?key={KEY}").headers["set-cookie"]
        assert "HttpOnly" in given and "SameSite=Strict" in given


def test_every_answer_forbids_foreign_scripts_and_guessing_of_types(browser, cell):
    for path in ("/", "/static/review.js", "/api/state", "/nowhere", sheet_of(browser, cell)["chromosomes"][0]["tile"]):
        headers = browser.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy
    page = browser.get("/").text
    assert "<style" not in page and " style=" not in page and "http://" not in page and "https://" not in page
    assert all(text.split(">")[0].count("src=") for text in page.split("<script")[1:])


@pytest.mark.parametrize(
    ("action", "values", "status"),
    [
        ("place", {"chromosome": 1, "label": "23"}, 400),
        ("place", {"chromosome": 1, "label": ["X"]}, 400),
        ("place", {"chromosome": 1}, 400),
        ("place", {"chromosome": 99, "label": "X"}, 404),
        ("place", {"chromosome": "1", "label": "X"}, 404),
        ("turn", {"chromosome": 1, "angle": "steep"}, 400),
        ("turn", {"chromosome": 1, "angle": 1e9}, 400),
        ("turn", {"chromosome": 1, "angle": None}, 400),
        ("accept", {"accepted": 1}, 400),
        ("drop", {}, 404),
    ],
)
def test_requests_that_make_no_sense_change_nothing(browser, cell, act, action, values, status):
    before = sheet_of(browser, cell)
    answer = act(cell, action, **values)
    assert answer.status_code == status and answer.json()["message"]
    assert sheet_of(browser, cell) == before
    assert act(99, action, **values).status_code in (400, 404)


def test_not_json_not_a_form_no_files(browser, cell):
    post = browser.post
    for content in (b"{", b"[1]", b'"text"'):
        assert post(f"/api/cells/{cell}/undo", content=content, headers=OWN).status_code in (400, 404)
    assert post("/api/cells", content=json.dumps({}), headers=OWN).status_code == 415
    form = {**OWN, "content-type": "multipart/form-data; boundary=x"}
    assert post("/api/cells", content=b"--x--\r\n", headers=form).status_code == 400
    assert post(f"/api/cells/{cell}/undo", content=b" " * 70000, headers=OWN).status_code == 413


def test_exports_can_be_fetched_and_none_without_an_accepted_cell(browser, cell, act):
    early = browser.post("/api/export", json={}, headers=OWN)
    assert early.status_code == 400 and "no cell is accepted yet" in early.json()["message"]
    act(cell, "accept", accepted=True)
    made = browser.post("/api/export", json={}, headers=OWN).json()
    assert (made["cells"], made["images"], made["unplaced"]) == (1, 5, 0)
    fetched = browser.get(made["address"])
    assert "attachment" in fetched.headers["content-disposition"]
    assert "metadata.csv" in zipfile.ZipFile(io.BytesIO(fetched.content)).namelist()


# What no page sends


@pytest.mark.parametrize(
    "number", [str(2**63), str(2**64), "9" * 30, "1" * 5000, "-1", "1.5", "0x1", "\u00b2", "\u0661"]
)
def test_a_number_that_no_cell_has_is_not_found(browser, cell, number):
    for answer in (
        browser.get(f"/api/cells/{number}"),
        browser.post(f"/api/cells/{number}/undo", json={"version": 0, "reader": "Anna"}, headers=OWN),
        browser.get(f"/api/chromosomes/{number}/1/X.png"),
        browser.get(f"/api/chromosomes/{cell}/{number}/X.png"),
    ):
        assert answer.status_code == 404 and answer.json()["message"].startswith("there is no such")


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "http://127.0.0.1:7800]", "http://\u2100", "//", "", "http://[v1.x]:7800"]
)
def test_an_origin_that_is_no_address_is_foreign(browser, cell, origin):
    headers = {**OWN, "origin": origin.encode()}
    answer = browser.post(
        f"/api/cells/{cell}/accept", json={"version": 0, "accepted": True, "reader": "Anna"}, headers=headers
    )
    assert answer.status_code == 403 and "own page" in answer.json()["message"]
    assert not sheet_of(browser, cell)["accepted"]


@pytest.mark.parametrize("length", [b"\xb2", b"1" * 5000, b"-1", b"1.5", b" "])
def test_a_length_that_is_none_is_refused(browser, cell, length):
    headers = {**OWN, "content-length": length}
    answer = browser.post(f"/api/cells/{cell}/undo", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 60000, 400),
        (b'{"a":' * 10000, 400),
        (b'{"version": ' + b"1" * 5000 + b"}", 400),
        (b'{"version": 1e999}', 400),
        (b"\xff\xfe{}", 400),
        (b'{"reader": "Anna", "version": ' + str(2**63).encode() + b"}", 409),
        (b'{"reader": "Anna", "version": -1}', 409),
    ],
)
def test_bodies_that_no_page_sends(browser, cell, body, status):
    for action in ("undo", "remove", "retry"):
        assert browser.post(f"/api/cells/{cell}/{action}", content=body, headers=OWN).status_code == status


@pytest.mark.parametrize("angle", ["1" + "0" * 400, "NaN", "1e999", "[1]", "true", '"\\ud800"'])
def test_an_angle_that_is_none(browser, cell, angle):
    body = f'{{"reader": "Anna", "version": 0, "chromosome": 1, "angle": {angle}}}'.encode()
    answer = browser.post(f"/api/cells/{cell}/turn", content=body, headers=OWN)
    assert answer.status_code == (200 if angle == "true" else 400)


def test_a_change_that_the_disk_does_not_take_is_said_not_to_be_kept(browser, cell, act, store):
    before = sheet_of(browser, cell)
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    long = "p" * 90
    for number in range(200):
        answer = act(cell, "accept", accepted=number % 2 == 0)
        if answer.status_code != 200:
            break
    assert answer.status_code == 507 and answer.json()["message"] == "nothing was saved: the disk is full"
    assert "Make room" in answer.json()["remedy"] and sheet_of(browser, cell)["version"] == before["version"] + number
    files = {f"c/{label}a.png": png(40 + label, 40, 30) for label in range(1, 23)}
    handed = browser.post("/api/cells", files=[("files", pair) for pair in files.items()], headers=OWN)
    assert handed.status_code == 507 and "nothing was saved" in handed.json()["message"]
    assert [one["id"] for one in browser.get("/api/state").json()["cells"]] == [cell]
    assert len(list((store.folder / "images").iterdir())) == 5
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert act(cell, "describe", patient=long).json()["patient"] == long


def test_a_fault_of_the_disk_outside_of_the_database_is_said_as_well(browser, cell, act, store, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bandbridge.review.accepted.shutil.copyfile", refuse)
    act(cell, "accept", accepted=True)
    answer = browser.post("/api/export", json={}, headers=OWN)
    assert answer.status_code == 507 and "nothing was exported" in answer.json()["message"]
    assert list((store.folder / "exports").iterdir()) == []
    monkeypatch.setattr("bandbridge.review.uploads.folder_beside", refuse)
    answer = browser.post("/api/cells", files=[("files", ("a.zip", zipped({"1a.png": png(1)})))], headers=OWN)
    assert answer.status_code == 507 and answer.json()["message"] == "nothing was saved: No space left on device"


def test_a_picture_that_was_exchanged_is_not_shown_as_the_cells(browser, cell, store):
    one, other = (store.image_path(image) for _, image in store.images_of(cell)[:2])
    one.write_bytes(other.read_bytes())
    answer = browser.get(f"/api/cells/{cell}")
    assert answer.status_code == 507 and "is not the picture that was kept" in answer.json()["message"]


def test_what_was_classified_and_cannot_be_kept_is_tried_again_and_said(review, store, monkeypatch):
    monkeypatch.setattr("bandbridge.review.worker._PAUSE_S", 0.05)
    waiting, _ = store.add_cell(Incoming("c9", tuple((f"{n}a.png", store.put_image(picture(n))) for n in range(1, 23))))
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with TestClient(make_app(review, Door(KEY, frozenset({"localhost"}))), "http://localhost") as client:
        client.get(f"/?key={KEY}")
        end = time.monotonic() + 10
        while not (trouble := client.get("/api/state").json()["trouble"]) and time.monotonic() < end:
            time.sleep(0.01)
        assert "nothing was saved: the disk is full" in trouble
        assert store.cell(waiting).state == "waiting"
        store._database.execute("PRAGMA max_page_count = 1000000")
        review.worker.wait(10)
        assert store.cell(waiting).state == "ready" and client.get("/api/state").json()["trouble"] == ""


@pytest.fixture
def port(review, caplog):
    """A real server's port, on this machine."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs bandbridge[review]")
    app = make_app(review, Door(KEY, frozenset({"127.0.0.1"})))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_a_client_that_leaves_before_it_has_said_or_heard_all_leaves_no_trace(port, review, store, caplog, capfd):
    head = f"Host: 127.0.0.1:{port}\r\nCookie: bandbridge_review={KEY}\r\nx-bandbridge: review\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x"
    form = f"POST /api/cells HTTP/1.1\r\n{head}{kind}\r\nContent-Length: 5000\r\n\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="1a.png"\r\n\r\n' + "0" * 100
    step = f"POST /api/cells/1/undo HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"
    (store.folder / "exports").mkdir(exist_ok=True)
    (store.folder / "exports" / "2026-01-01T000000Z.zip").write_bytes(bytes(2**24))
    fetch = f"GET /exports/2026-01-01T000000Z.zip HTTP/1.1\r\n{head}\r\n"
    for text in (form + part, form, step, fetch, f"GET /api/state HTTP/1.1\r\n{head}\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            # An end without a farewell, as of a browser that was killed.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(text.encode())
            if text is fetch:
                client.recv(1000)
            time.sleep(0.05)
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET /api/state HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert store.cells() == []
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]
    assert "Traceback" not in "".join(capfd.readouterr())


# Who reviews, and who signs


def test_who_changes_a_cell_is_in_the_log_and_nobody_changes_one_unnamed(browser, cell, act, review):
    one = by_file(sheet_of(browser, cell), "Xa.png")["id"]
    assert act(cell, "place", chromosome=one, label="Y", reader="  Ben \n Lee ", role="second").status_code == 200
    last = review.store.log()[-1]
    assert (last.kind, last.reader.name, last.reader.role, last.chromosome) == ("place", "Ben Lee", "second", one)
    for values in ({"reader": ""}, {"reader": 7}, {"reader": None}, {"role": "third"}):
        refused = act(cell, "undo", **values)
        assert refused.status_code == 400 and refused.json()["message"]
    assert len(review.store.log()) == last.id
    assert browser.get("/api/state").json()["reader"] == "Anna"


def test_the_patient_s_cells_are_signed_in_turn_and_the_page_is_told(browser, cell, act):
    assert act(cell, "describe", patient="p7", stain="G").status_code == 200
    early = act(cell, "sign")
    assert early.status_code == 400 and "not accepted and not counted only: c1" in early.json()["message"]
    counted = act(cell, "count", counted=True).json()
    assert counted["counted"] and counted["of_patient"] == {"cells": 1, "accepted": 0, "counted": 1}
    assert act(cell, "count", counted="yes").status_code == 400
    signed = act(cell, "sign").json()
    assert [(one["reader"], one["role"], one["stands"]) for one in signed["signatures"]] == [("Anna", "first", True)]
    assert act(cell, "sign", reader="Anna", role="second").status_code == 400
    both = act(cell, "sign", reader="Ben", role="second").json()
    assert [one["stands"] for one in both["signatures"]] == [True, True]
    reopened = act(cell, "count", counted=False).json()
    assert [one["stands"] for one in reopened["signatures"]] == [False, False]


def test_a_signature_rests_on_what_was_shown(browser, cell, act):
    act(cell, "describe", patient="p7", stain="G")
    act(cell, "accept", accepted=True)
    assert act(cell, "sign", version=0).status_code == 409
    assert act(cell, "sign").status_code == 200


def test_who_hands_cells_in_is_in_the_log(browser, review):
    files = [("files", ("c9/1a.png", png(1)))]
    assert browser.post("/api/cells", files=files, data={"reader": "Ben"}, headers=OWN).status_code == 200
    review.worker.wait()
    assert [(one.kind, one.reader.name) for one in review.store.log()] == [("add", "Ben"), ("sort", "")]

"""What a pack says of itself to others: a graph in which nothing leads nowhere, as RO-Crate 1.1 wants it.

Checked once, by hand, with rocrate 0.16.0, which opens it, and roc-validator 0.13.0: all that is required holds.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from bandbridge.evaluation.crate import CRATE
from bandbridge.evaluation.pack import read_pack
from bandbridge.study.pack import pack_study

PAGE = "<html><title>Größe</title></html>".encode()
BEGUN = {"device": "cpu", "bandbridge": "1", "packages": {}, "started": "2026-11-29T00:21:35Z"}
LATER = {**BEGUN, "started": "2026-11-30T09:00:00Z"}


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def graph(path) -> dict[str, dict[str, Any]]:
    """The entities by their id; none is there twice."""
    found = json.loads(members(path)[CRATE])
    assert found["@context"] == "https://w3id.org/ro/crate/1.1/context" and set(found) == {"@context", "@graph"}
    entities = {one["@id"]: one for one in found["@graph"]}
    assert len(entities) == len(found["@graph"])
    return entities


def write_sealed(held: dict[str, bytes], path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
        archive.comment = b"0" * 64
    data = stream.getvalue()[:-64]
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@pytest.mark.parametrize("report", [None, PAGE])
def test_every_file_is_described_and_nothing_that_is_not_there(made_up, tmp_path, report):
    study, runs = made_up(machines=[BEGUN, LATER])
    pack_study(study, runs, tmp_path / "p.zip", report)
    entities, held = graph(tmp_path / "p.zip"), members(tmp_path / "p.zip")
    descriptor, root = entities[CRATE], entities["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset" and root["name"] and root["description"]
    assert date.fromisoformat(root["datePublished"]) == date(2026, 11, 30), "the day of the last training"
    parts = {one["@id"] for one in root["hasPart"]}
    assert {name.partition("/")[0] + "/" * ("/" in name) for name in held} == parts | {CRATE}
    for name in parts:
        assert entities[name]["@type"] == ("Dataset" if name.endswith("/") else "File")
        if name in held:
            assert entities[name]["contentSize"] == str(len(held[name]))
    # What a reference names is in the graph; an address of the web may lead out of it.
    named = set(references(list(entities.values())))
    assert {one for one in named if one not in entities} == {"https://w3id.org/ro/crate/1.1"}
    assert entities[root["license"]["@id"]]["description"]
    assert set(entities) - {CRATE} <= named, "and nothing stands there that no reference leads to"
    assert all((one["@type"] and one.get("name")) or one is descriptor for one in entities.values())


def test_it_names_the_sets_and_what_trained(made_up, tmp_path):
    study, runs = made_up(machines=[BEGUN, LATER])
    pack_study(study, runs, tmp_path / "p.zip")
    entities, facts = graph(tmp_path / "p.zip"), read_pack(tmp_path / "p.zip").facts
    training = entities["#training"]
    assert training["@type"] == "CreateAction" and training["name"].startswith(f"{len(facts.run_ids)} trainings")
    assert (training["startTime"], training["endTime"]) == (BEGUN["started"], LATER["started"])
    assert entities[training["instrument"]["@id"]]["softwareVersion"] == "1"
    (task,) = facts.tasks
    assert entities[training["object"]["@id"]]["identifier"] == f"sha256:{task.fingerprint}"


def test_the_report_is_in_where_it_is_asked_for_and_no_number_comes_of_it(made_up, tmp_path):
    study, runs = made_up(machines=[BEGUN])
    plain, whole = tmp_path / "a.zip", tmp_path / "b.zip"
    pack_study(study, runs, plain), pack_study(study, runs, whole, PAGE)
    assert members(whole)["report.html"] == PAGE and "report.html" not in members(plain)
    one, other = read_pack(plain), read_pack(whole)
    assert one.facts == other.facts and one.logits.keys() == other.logits.keys()
    with zipfile.ZipFile(io.BytesIO(plain.read_bytes())) as archive:
        beside = archive.getinfo(CRATE).compress_size
    assert beside < 2500, "what a pack of docs/results would grow by"
    # It is packed again without its report: no run is lost by that.
    assert pack_study(study, runs, whole).size == plain.stat().st_size


def test_a_pack_of_before_is_read(made_up, tmp_path):
    """One as it was written until now: no crate, and runs that do not say when they were begun."""
    study, runs = made_up(machines=[{**BEGUN, "started": ""}])
    pack_study(study, runs, tmp_path / "now.zip")
    held = members(tmp_path / "now.zip")
    facts = json.loads(held["pack.json"])
    for run in facts["runs"]:
        assert run.pop("started") == ""
    del held[CRATE]
    write_sealed(held | {"pack.json": json.dumps(facts).encode()}, tmp_path / "before.zip")
    before, now = read_pack(tmp_path / "before.zip"), read_pack(tmp_path / "now.zip")
    assert before.facts == now.facts
    assert "datePublished" not in graph(tmp_path / "now.zip")["./"], "no date is made up"


@pytest.mark.slow
def test_the_command_makes_the_report_without_an_image(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    monkeypatch.setattr("bandbridge.dataset.store.build_store", lambda *_, **__: pytest.fail("an image was opened"))
    before = {path: path.stat().st_mtime_ns for path in example_home.rglob("*") if path.is_file()}
    out = tmp_path / "p.zip"
    done = bandbridge("study", "pack", "mine.yaml", "--data-dir", "sets", "--out", out, "--report")
    assert done.code == 0, done.err
    page = members(out)["report.html"].decode()
    assert "mine" in page and "</html>" in page and "data:image/jpeg" not in page
    assert {path: path.stat().st_mtime_ns for path in example_home.rglob("*") if path.is_file()} == before

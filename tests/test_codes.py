"""Codes in the place of names, against the keyed hash computed by OpenSSL's own function, and what a key is worth."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

from bandbridge.codes import Codes, open_codes, open_kept, read_names, write_names
from bandbridge.errors import EnvironmentFault, UserError


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104, written out."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


@pytest.mark.parametrize("name", ["Doe, Jane", "Müller", "x" * 500])
def test_a_code_is_a_keyed_hash_of_kind_and_name(name):
    key = bytes(range(32))
    digest = hmac_sha256(key, f"patient\0{name}".encode())
    assert Codes(key).code("patient", name) == f"patient-{base64.b32encode(digest).decode()[:8]}"


def test_no_name_has_no_code_and_what_was_asked_for_is_remembered():
    codes = Codes(bytes(32))
    assert codes.code("cell", "") == ""
    made = [codes.code("cell", name) for name in ("b", "a", "b")]
    assert list(codes.names()) == [(made[0], "b"), (made[1], "a")] and made[0] == made[2] != made[1]
    assert Codes(bytes(31) + b"\1").code("cell", "b") != made[0]


def test_a_key_is_made_once_for_its_owner_alone_and_keeps_its_codes(tmp_path):
    path = tmp_path / "work" / "codes.key"
    first = open_codes(path).code("patient", "p7")
    assert open_codes(path).code("patient", "p7") == first
    assert path.stat().st_mode & 0o077 == 0
    assert open_codes(tmp_path / "another.key").code("patient", "p7") != first


@pytest.mark.parametrize("text", [b"", b"zz" * 32, b"00" * 31, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_left_alone(tmp_path, text):
    path = tmp_path / "codes.key"
    path.write_bytes(text)
    with pytest.raises(UserError, match="holds no key") as refused:
        open_codes(path)
    assert path.read_bytes() == text and "copy" in refused.value.remedy


def test_a_key_that_cannot_be_kept_is_said_to_be_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=f"cannot keep the key .*{os.sep}codes.key"):
        open_codes(tmp_path / "file" / "codes.key")


def test_the_table_of_names_is_read_as_it_was_written_and_closed_to_others(tmp_path):
    codes, path = Codes(bytes(32)), tmp_path / "codes.csv"
    names = ["Doe, Jane", "=1+1", "Müller"]
    for name in names:
        codes.code("patient", name)
    assert read_names(path) == {}
    write_names(path, codes)
    assert read_names(path) == dict(codes.names()) and list(read_names(path).values()) == names
    assert path.stat().st_mode & 0o077 == 0 and "'=1+1" in path.read_text(encoding="utf-8-sig")


def test_a_table_that_is_none_is_not_written_over(tmp_path):
    open_codes(tmp_path / "codes.key")
    (tmp_path / "codes.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UserError, match="no table of codes"):
        open_kept(tmp_path)
    assert (tmp_path / "codes.csv").read_text() == "x,y\n1,2\n"


def test_names_that_were_given_codes_stay_in_the_table(tmp_path):
    first = open_kept(tmp_path)
    code = first.code("cell", "c1")
    write_names(tmp_path / "codes.csv", first)
    again = open_kept(tmp_path)
    again.code("cell", "c2")
    write_names(tmp_path / "codes.csv", again)
    assert read_names(tmp_path / "codes.csv")[code] == "c1" and len(read_names(tmp_path / "codes.csv")) == 2
    (tmp_path / "codes.key").unlink()
    with pytest.raises(UserError, match="is gone"):
        open_kept(tmp_path)

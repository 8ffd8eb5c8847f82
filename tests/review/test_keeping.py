"""What happens to the file of the database: emptied, gone, cut short, damaged, another's, disk full; the way back."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import PureWindowsPath

import pytest
from tests.review.conftest import picture

from bandbridge.errors import UserError
from bandbridge.review import keeping
from bandbridge.review.database import Store
from bandbridge.review.keeping import BACKUPS, DATABASE, DamagedError, NotKeptError, restore
from bandbridge.review.schema import Incoming


def fill(store: Store, cells: int = 30) -> list[int]:
    """Put cells into a store, enough for a database of many pages."""
    return [
        store.add_cell(Incoming(f"c{number}", tuple((f"{file}a.png", f"{file:064d}") for file in range(46))))[0]
        for number in range(cells)
    ]


def names(store: Store) -> list[str]:
    return [one.name for one in store.cells()]


@pytest.fixture
def folder(tmp_path):
    """A work folder of an ended review, with a picture, 30 cells and one backup."""
    store = Store(tmp_path / "work")
    store.put_image(picture(1))
    fill(store)
    store.close()
    return store.folder


def dump(path) -> list[str]:
    """Return all that a database holds."""
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.iterdump())


def emptied(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-5000])


def cut_to_a_page(path):
    path.write_bytes(path.read_bytes()[: 4096 * 4])


def cut_to_a_header(path):
    path.write_bytes(path.read_bytes()[:50])


def with_pages_of_zeros(path):
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 8] = bytes(4096 * 5)
    path.write_bytes(data)


def of_text(path):
    path.write_text("not a database, but long enough to be looked at " * 20)


def of_another_program(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE cells (id, wall); PRAGMA user_version = 1")


def of_nothing(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE kept (id); DROP TABLE kept")


CUT = (cut_short, cut_to_a_page, cut_to_a_header)
WAYS = (emptied, gone, *CUT, with_pages_of_zeros, of_text, of_another_program, of_nothing)


@pytest.mark.parametrize("spoil", WAYS)
def test_a_database_that_is_not_whole_is_refused_with_the_way_back_and_the_way_leads_back(folder, spoil):
    path = folder / DATABASE
    before = dump(path)
    spoil(path)
    held = path.read_bytes() if path.exists() else None
    for _ in range(2):  # a refusal changes nothing
        with pytest.raises(DamagedError) as refused:
            Store(folder)
        assert DATABASE in refused.value.message and "--restore" in refused.value.remedy
        assert str(folder / BACKUPS / "review-") in refused.value.remedy
        assert (path.read_bytes() if path.exists() else None) == held
    used = restore(folder)
    assert dump(used) == dump(path) == before and used.parent.name == BACKUPS
    store = Store(folder)
    assert names(store) == [f"c{number}" for number in range(30)]
    store.close()
    aside = [one for one in folder.iterdir() if one.name.startswith("damaged-")]
    assert [one.read_bytes() for one in aside] == ([held] if held is not None else [])


def test_without_a_backup_the_remedy_says_so(folder):
    for one in (folder / BACKUPS).iterdir():
        one.unlink()
    emptied(folder / DATABASE)
    with pytest.raises(DamagedError) as refused:
        Store(folder)
    assert "There is no backup" in refused.value.remedy and "--work" in refused.value.remedy
    with pytest.raises(UserError, match="holds no backup that is whole"):
        restore(folder)


def test_a_new_folder_and_one_whose_database_was_never_filled_begin_empty(tmp_path):
    (tmp_path / DATABASE).touch()
    for _ in range(2):
        store = Store(tmp_path)
        assert store.cells() == []
        store.close()


def test_what_is_whole_is_not_restored_and_what_is_open_neither(folder):
    with pytest.raises(UserError, match="nothing to restore"):
        restore(folder)
    store = Store(folder)
    with pytest.raises(UserError, match="another review is open"):
        restore(folder)
    assert len(store.cells()) == 30
    store.close()


def test_a_damaged_backup_is_passed_over(folder):
    store = Store(folder)
    store.remove(store.cells()[0].id)
    for earlier in (folder / BACKUPS).iterdir():
        earlier.unlink()
    store.close()
    (newest,) = (folder / BACKUPS).iterdir()
    older = folder / BACKUPS / "review-2020-01-01T000000Z.sqlite"
    older.write_bytes((folder / DATABASE).read_bytes())
    with_pages_of_zeros(newest)
    emptied(folder / DATABASE)
    assert restore(folder) == older


def test_a_backup_is_made_when_something_changed_and_seven_stay(folder, monkeypatch):
    def backups() -> list[str]:
        return sorted(one.name for one in (folder / BACKUPS).iterdir())

    assert len(backups()) == 1
    Store(folder).close()
    assert len(backups()) == 1, "nothing changed"
    for day in range(1, 10):
        monkeypatch.setattr(keeping, "_BACKUP_NAME", f"review-2099-01-0{day}T000000Z.sqlite")
        store = Store(folder)
        store.describe(1, f"p{day}", "G")
        store.close()
    assert backups() == [f"review-2099-01-0{day}T000000Z.sqlite" for day in range(3, 10)]
    # Each is a whole database of that moment, and for its owner only.
    for name, day in zip(backups(), range(3, 10), strict=True):
        path = folder / BACKUPS / name
        with closing(sqlite3.connect(path)) as copy:
            assert copy.execute("SELECT patient FROM cells WHERE id = 1").fetchone() == (f"p{day}",)
        assert os.name == "nt" or path.stat().st_mode & 0o077 == 0


def test_a_session_that_goes_on_for_hours_is_copied_every_hour(folder, monkeypatch):
    store = Store(folder)
    monkeypatch.setattr(keeping, "_BACKUP_NAME", "review-2099-01-01T000000Z.sqlite")
    copy = folder / BACKUPS / "review-2099-01-01T000000Z.sqlite"
    store.describe(1, "p1", "G")
    assert not copy.exists()
    store._copied_at -= 3601
    store.describe(1, "p2", "G")
    assert copy.exists() and store._copied_at > 0
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("SELECT patient FROM cells WHERE id = 1").fetchone() == ("p2",)
    store.close()


def test_where_no_backup_can_be_made_the_work_goes_on_and_a_line_says_so(folder, capsys):
    for one in (folder / BACKUPS).iterdir():
        one.unlink()
    (folder / BACKUPS).rmdir()
    (folder / BACKUPS).write_text("in the way")
    store = Store(folder)
    store.describe(1, "p1", "G")
    store.close()
    assert "no backup of" in capsys.readouterr().err


def full(store: Store) -> None:
    """Let the database have no page more than it has, as on a full disk: SQLite says the same."""
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")


def test_on_a_full_disk_nothing_is_kept_by_halves_and_the_next_change_is(folder):
    store = Store(folder)
    before = names(store)
    full(store)
    cells = [Incoming(f"new{number}", tuple((f"{file}", "0" * 64) for file in range(46))) for number in range(40)]
    with pytest.raises(NotKeptError, match="nothing was saved: the disk is full"):
        store.add_cells(cells)
    assert names(store) == before
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert len(store.add_cells(cells)) == 40
    assert names(store) == before + [one.name for one in cells]
    store.close()


def test_pictures_of_cells_that_are_not_kept_are_not_kept_either(store, tmp_path):
    kept = store.put_image(picture(1))
    store.add_cell(Incoming("c1", (("1a.png", kept),)))
    full(store)
    with pytest.raises(NotKeptError), store.taking_in():
        images = tuple((f"{seed}.png", store.put_image(picture(seed))) for seed in range(1, 40))
        store.add_cells([Incoming(f"n{number}", images) for number in range(40)])
    assert [one.stem for one in (store.folder / "images").iterdir()] == [kept]


def test_damage_in_the_middle_of_the_work_says_that_nothing_was_saved_and_names_the_backup(folder):
    store = Store(folder)
    backups = sorted((folder / BACKUPS).iterdir())  # two where a second ended before the store was opened again
    with_pages_of_zeros(folder / DATABASE)
    store._database.execute("PRAGMA cache_size = 1")
    store._database.execute("PRAGMA shrink_memory")
    with pytest.raises(DamagedError, match="is damaged") as seen:
        fill_all = [store.images_of(cell) for cell in range(1, 31)]
        assert not fill_all
    assert "--restore" in seen.value.remedy and "Ctrl-C" in seen.value.remedy
    with pytest.raises(NotKeptError, match=r"nothing was saved: .*review\.sqlite is damaged"):
        for cell in range(1, 31):
            store.describe(cell, "p", "G")
            store.add_cell(Incoming(f"later{cell}", tuple((f"{file}", "1" * 64) for file in range(46))))
    store.close()
    assert sorted((folder / BACKUPS).iterdir()) == backups, "a copy of a damaged file replaces no backup"


def test_a_row_that_holds_what_is_never_written_is_damage(folder):
    with closing(sqlite3.connect(folder / DATABASE)) as opened:
        opened.execute("UPDATE cells SET notes = '[\"cut' WHERE id = 3")
        opened.commit()
    store = Store(folder)
    with pytest.raises(DamagedError, match="is damaged"):
        store.cells()
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="permissions as on Unix")
def test_all_that_a_review_keeps_is_private_in_a_folder_that_is_not(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir(mode=0o755)
    (folder / "images").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        store = Store(folder)
        store.add_cell(Incoming("c", (("1a.png", store.put_image(picture(1))),)))
        held = {path.relative_to(folder).as_posix().split("/")[0]: path.stat().st_mode for path in folder.rglob("*")}
        store.close()
        (folder / DATABASE).chmod(0o644)
        Store(folder).close()
    finally:
        os.umask(before)
    assert {"images", DATABASE, f"{DATABASE}-journal"} <= set(held) and not any(mode & 0o077 for mode in held.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_folder_in_the_place_of_the_database_is_refused_with_the_way_back(folder):
    (folder / "review.sqlite").unlink()
    (folder / "review.sqlite").mkdir()
    with pytest.raises(DamagedError, match="is no file"):
        keeping.open_database(folder)


def test_a_backup_on_a_share_of_windows_is_a_path_to_sqlite_and_no_host(folder):
    """SQLite takes what stands after two slashes for a host, as which it knows none but this machine."""
    assert keeping._uri(PureWindowsPath(r"\\server\share\a b.sqlite")) == "file:////server/share/a%20b.sqlite"
    assert keeping._uri(PureWindowsPath(r"C:\work\a#b.sqlite")) == "file:///C:/work/a%23b.sqlite"
    with pytest.raises(sqlite3.OperationalError, match="invalid uri authority: server"):
        sqlite3.connect(PureWindowsPath(r"\\server\share\a.sqlite").as_uri(), uri=True)
    (backup,) = (folder / BACKUPS).iterdir()
    for path in (backup, f"/{backup}"):  # as a share's, with two slashes before it
        with closing(sqlite3.connect(f"file://{path}?mode=ro", uri=True)) as opened:
            assert opened.execute("SELECT count(*) FROM cells").fetchone() == (30,)

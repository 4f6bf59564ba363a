"""Files are whole or not there; what is damaged is named."""

import os

import pytest

from keras_ssl._files import (
    DamagedFileError,
    partial_files,
    read_json,
    whole,
    whole_folder,
    write_whole,
)

DAMAGED = {
    "empty": (b"", "an empty file"),
    "cut short": (b'{"a": [1, ', "Expecting value"),
    "binary": (b"\x00\xff\xfe", "can't decode"),
    "list": (b"[1]", "a list"),
    "number": (b"1", "a int"),
    "nested": (b"[" * 100_000, "recursion"),
}


@pytest.mark.parametrize(("content", "found"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(content, found, tmp_path):
    path = tmp_path / "trial.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"trial.json is damaged. Do this. .*{found}"):
        read_json(path, "Do this.")
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_read_may_be_intact(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for name in ("folder.json", "nowhere.json"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read: ") as caught:
            read_json(tmp_path / name, "Do this.")
        assert not isinstance(caught.value, DamagedFileError)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, '{"a": "日本"}')
    assert read_json(path, "") == {"a": "日本"}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # As Windows' editors do.
    assert read_json(path, "") == {"a": "日本"}
    write_whole(path, "\udcff")
    assert path.read_text() == "\\udcff"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(call, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    write_whole(path, "{}")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, '{"a": 1}')
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"] and path.read_text() == "{}"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_what_was_there(error, tmp_path):
    path = tmp_path / "curves.png"
    path.write_bytes(b"before")
    with pytest.raises(error), whole(path) as partial:
        assert partial.suffix == ".png"  # Keras and matplotlib choose the format by it.
        partial.write_bytes(b"half")
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
    assert path.read_bytes() == b"before"


def test_a_file_has_its_name_when_its_content_is_on_the_disk(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.keras", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file), path.exists())))
    with whole(path) as partial:
        partial.write_bytes(b"model")
    assert [(stat.st_size, is_there) for stat, is_there in synced] == [(5, False)]
    assert path.read_bytes() == b"model" and synced[0][0].st_ino == path.stat().st_ino


def test_what_killed_processes_left_is_known_by_its_name(tmp_path):
    left = ["a.json.12.partial.json", "a.keras.7.partial.keras", "b.12.partial", "a.json.1.partial"]
    own = ["a.json", "my.partial", "a.partial.json", "epoch-00001.keras", "a.1.partial.b.c"]
    for name in left + own:
        (tmp_path / name).touch()
    assert sorted(file.name for file in partial_files(tmp_path)) == sorted(left)


def test_a_folder_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "out").symlink_to("volume")
    with whole_folder(tmp_path / "out") as partial:
        (partial / "file").write_text("all of it")
    assert (tmp_path / "volume" / "file").read_text() == "all of it"
    assert (tmp_path / "out").is_symlink()

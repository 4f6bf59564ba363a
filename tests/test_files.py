"""Files are whole or not there; what is damaged is named."""

import os

import pytest

from keras_ssl._files import DamagedFileError, read_json, write_whole

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

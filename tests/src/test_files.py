import pytest

from src.errors import CheckpointError
from src.files import read_json, write_json, write_lines


def test_a_file_is_whole_or_what_it_was(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_lines(path, ["한", "둘"])
    assert path.read_bytes() == "한\n둘\n".encode()

    def lines():
        yield "셋"
        raise OSError(28, "disk full")

    with pytest.raises(OSError, match=r"disk full: .*b\.txt"):
        write_lines(path, lines())
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]
    assert path.read_bytes() == "한\n둘\n".encode()


def test_what_another_process_is_writing_is_not_in_the_way(tmp_path):
    (tmp_path / ".b.txt.partial").write_text("its half")
    write_lines(tmp_path / "b.txt", ["ours"], shared=True)
    assert (tmp_path / "b.txt").read_text() == "ours\n"
    assert (tmp_path / ".b.txt.partial").read_text() == "its half"


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1.5, "a": "한"})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1.5,\n  "a": "한"\n}\n'
    assert read_json(tmp_path / "a.json") == {"b": 1.5, "a": "한"}
    assert read_json(tmp_path / "none.json") == {}


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")

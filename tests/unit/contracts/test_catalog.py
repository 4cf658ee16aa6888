from pathlib import Path

from aforo.contracts.catalog import read_headers


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "use_case.yaml").write_text(text, encoding="utf-8")


def test_one_broken_file_never_hides_the_others(tmp_path):
    write(tmp_path, "flights", "name: flights\ntitle: Late?\nowner: ada\ndata: {anything: goes}\n")
    write(tmp_path, "broken", "name: [\n")
    write(tmp_path, "list", "- name\n")
    write(tmp_path, "renamed", "name: other\ntitle: Late?\nowner: ada\n")
    write(tmp_path, "ownerless", "name: ownerless\ntitle: Late?\n")
    headers, broken = read_headers(tmp_path)
    assert [header.name for header in headers] == ["flights"]
    assert {item.folder for item in broken} == {"broken", "list", "renamed", "ownerless"}


def test_the_reason_a_header_is_broken_is_one_line(tmp_path):
    write(tmp_path, "broken", "name: [\n")
    _, [item] = read_headers(tmp_path)
    assert "\n" not in item.reason
    assert "line" in item.reason

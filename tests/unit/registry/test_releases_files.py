"""Releases kept in files: read with the line of each problem, prompts beside them, written as they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.files import read_prompt, read_releases, release_yaml
from undercroft.registry.releases.prompts import leading_messages

_BOT = "name: bot\nmodel: tiny\n"


def written(folder: Path, text: str, name: str = "releases.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(InvalidError) as caught:
        read_releases(written(folder, text))
    assert caught.value.code == "bad-release-file"
    return caught.value.message


def test_one_several_and_a_list_are_read(tmp_path: Path) -> None:
    """A document is a release; several documents are several, and so is a list; each with its line."""
    assert [(one.name, one.line) for one in read_releases(written(tmp_path, _BOT))] == [("bot", 1)]
    several = f"{_BOT}---\n---\n{_BOT.replace('bot', 'desk')}"
    assert [(one.name, one.line) for one in read_releases(written(tmp_path, several))] == [("bot", 1), ("desk", 5)]
    listed = "releases:\n  - {name: bot, model: tiny}\n  - name: desk\n    model: tiny\n"
    assert [(one.name, one.line) for one in read_releases(written(tmp_path, listed))] == [("bot", 2), ("desk", 3)]


@pytest.mark.parametrize(
    "values",
    [
        {"model": "tiny"},
        {"model": "tiny", "prompt": {"system": "one\ntwo\n\n  three: [x]\n"}},
        {
            "model": "tiny",
            "prompt": {"system": "\n  indented\n\n"},
            "sampling": {"stop": ["\n\n", " ", "#", "no", "1"]},
        },
        {"model": "tiny", "prompt": {"system": "ไทย 中文 \u2028 \x85 \ufeff \x07 'quoted' \"both\"\r\n"}},
        {"model": "tiny", "prompt": {"examples": [{"user": "a\nb", "assistant": "{}"}], "client_system": "refuse"}},
        {"model": "tiny", "prompt": {"system": "{{a}} {{ b }}", "variables": {"a": None, "b": "yes"}}},
        {"engine": "external", "settings": {"url": "http://127.0.0.1:1", "key_file": "/k", "slots": 2}},
        {"model": "tiny", "sampling": {"temperature": 1e-7, "seed": 0}},
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, values: dict[str, object]) -> None:
    """Every text, white space and odd characters included, comes back as it was."""
    content = check_content(values)
    (found,) = read_releases(written(tmp_path, "# a note\n" + release_yaml("bot", content)))
    assert (found.name, found.content) == ("bot", content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: expected a release with its name, found nothing"),
        ("releases: []\n", "found nothing"),
        ("model: tiny\n", "line 1: name: is missing"),
        ("name: Bot!\nmodel: tiny\n", "line 1: name: release name 'Bot!' is not usable"),
        ("name: 5\nmodel: tiny\n", "line 1: name: expected a text, got 5"),
        ("name:\nmodel: tiny\n", "line 1: name: expected a text, got None"),
        ("- 1\n", "line 1: expected a mapping with a name"),
        (_BOT + "samplin: {}\n", "line 3: samplin: there is no such field; nearest is 'sampling'"),
        (_BOT + "temperature: 1\n", "line 3: temperature: there is no such field here; it belongs elsewhere"),
        (_BOT + "sampling:\n  top_p: 2\n", "line 4: sampling.top_p: expected at most 1, got 2"),
        (_BOT + "1: x\n", "line 3: 1: there is no such field"),
        (_BOT + "prompt: text\n", "line 3: prompt: expected a mapping, got 'text'"),
        (_BOT + "---\n" + _BOT, "line 4: name: 'bot' stands twice"),
        (_BOT + "model: other\n", "line 3: model stands twice"),
        ("name: bot\nengine: external\n", "line 1: an engine that is attached needs settings.url"),
        ("name: bot\nmodel: 2026-13-45\n", "line 2: '2026-13-45' is written as timestamp and is none"),
        ("name: [bot\n", "it is not YAML"),
    ],
)
def test_each_problem_has_its_line(tmp_path: Path, text: str, expected: str) -> None:
    """With the field, what was expected, and the nearest name."""
    assert expected in problems(tmp_path, text)


def test_all_problems_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    """Those of every release in it."""
    found = problems(tmp_path, "name: A\nmodel: tiny\n---\nname: b\nsettings: {slots: 0}\n---\n7\n")
    assert [line.split(":")[0] for line in found.splitlines()[1:]] == [
        "  - line 1",
        "  - line 5",
        "  - line 7",
    ]


def test_a_prompt_may_lie_beside_its_release(tmp_path: Path) -> None:
    """As text with variables in the release, or as a whole prompt; in a folder below, too."""
    (tmp_path / "prompts").mkdir()
    written(tmp_path, "Hi {{name}},\nbe brief.\n", "prompts/short.md")
    written(tmp_path, "system: x\nclient_system: ignore\n", "whole.yaml")
    text = f"{_BOT}prompt: {{file: prompts/short.md, variables: {{name: Bo}}}}\n---\nname: desk\nmodel: tiny\n"
    first, second = read_releases(written(tmp_path, text + "prompt: {file: whole.yaml}\n"))
    assert first.content.prompt is not None
    assert first.content.prompt.system == "Hi {{name}},\nbe brief."
    assert first.content.prompt.variables == {"name": "Bo"}
    assert second.content.prompt is not None
    assert second.content.prompt.client_system == "ignore"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("file: ../outside.md", "line 3: prompt.file: '../outside.md' lies outside of the folder"),
        ("file: inside/../../outside.md", "lies outside"),
        ("file: link.md", "lies outside"),
        ("file: loop.md", "lies outside"),
        ("file: /etc/hostname.md", "lies outside"),
        ("file: gone.md", "there is no file"),
        ("file: folder.md", "is a folder or a device"),
        ("file: pipe.md", "is a folder or a device"),
        ("file: empty.md", "holds no text"),
        ("file: bytes.txt", "is no text in UTF-8"),
        ("file: a.json", "expected a prompt in a .txt, .md, .yaml or .yml file"),
        ("file: 5", "expected the name of a file, got 5"),
        ("file: text.md, system: x", "system cannot stand beside it"),
        ("file: whole.yaml, variables: {a: b}", "variables cannot stand beside it"),
        ("file: broken.yaml", "line 1: sytem: there is no such field; nearest is 'system'"),
        ('file: "a\\0.md"', "line 3: prompt.file: "),
    ],
)
def test_a_prompt_from_elsewhere_is_refused(tmp_path: Path, prompt: str, expected: str) -> None:
    """Outside of the folder by any way, no file, no text, or said twice: with the line of the release's file."""
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    written(tmp_path, "secret", "outside.md")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "folder.md").mkdir()
    os.mkfifo(folder / "pipe.md")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe")
    for name, text in (("empty.md", " \n"), ("text.md", "x"), ("whole.yaml", "system: x"), ("broken.yaml", "sytem: x")):
        written(folder, text, name)
    assert expected in problems(folder, f"{_BOT}prompt: {{{prompt}}}\n")


def test_a_text_file_is_the_system_prompt_as_it_stands(tmp_path: Path) -> None:
    """Without a byte order mark and the line break at its end; what it holds is kept as it is."""
    path = written(tmp_path, "\ufeff  one\r\n\ntwo\n\n", "prompt.txt")
    path.write_bytes("\ufeff  one\r\n\ntwo\n\n".encode())
    assert read_prompt(path) == {"system": "  one\r\n\ntwo\n"}


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Of releases and of prompts."""
    with pytest.raises(NotFoundError, match="there is no file"):
        read_releases(tmp_path / "gone.yaml")
    with pytest.raises(NotFoundError, match="there is no file"):
        read_prompt(tmp_path / "gone.md")


def test_variables_are_filled_in_once() -> None:
    """A request's value wins over the prompt's; what a value holds is no variable."""
    prompt = {
        "system": "Hi {{ name }} of {{town}}",
        "examples": [{"user": "{{name}}?", "assistant": "Yes."}],
        "variables": {"name": None, "town": "Ulm"},
    }
    assert leading_messages(prompt, {"name": "{{town}}"}) == [
        {"role": "system", "content": "Hi {{town}} of Ulm"},
        {"role": "user", "content": "{{town}}?"},
        {"role": "assistant", "content": "Yes."},
    ]
    with pytest.raises(ValueError, match="needs a value for name"):
        leading_messages(prompt, {})
    with pytest.raises(ValueError, match="there is no variable nam in this prompt; it has name, town"):
        leading_messages(prompt, {"nam": "x"})

"""What people write to say which model they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError
from undercroft.registry.references import HubReference, LocalReference, name_or_suggested, parse_reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://org/name", HubReference("org/name")),
        ("hf://org/name:Q4_K_M", HubReference("org/name", "Q4_K_M")),
        ("hf://org/name@v1.0", HubReference("org/name", None, "v1.0")),
        ("hf://org/name:a/b-Q8_0.gguf@refs/pr/1", HubReference("org/name", "a/b-Q8_0.gguf", "refs/pr/1")),
        ("hf://Org/Na.me_x-1", HubReference("Org/Na.me_x-1")),
    ],
)
def test_hub_references(text: str, expected: HubReference) -> None:
    """Repository, file or quantization, and revision; what is written out reads the same."""
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://org",
        "hf://org/",
        "hf:///name",
        "hf://org/name/more",
        "hf://org/name:",
        "hf://org/name@",
        "hf://../name",
        "hf://org/..",
        "hf://org/a--b",
        "hf://org/name:../x",
        "hf://org/name:/etc/passwd",
        "hf://org/name@../x",
        "hf://org/na me",
        "hf://org/name?x=1",
        "hf://org/name#x",
        "hf://user:password@org/name",
        "hf://org/name\n",
        "oci://registry/model",
        "https://example.org/m.gguf",
        "file:///m.gguf",
        "",
        "a\0b",
    ],
)
def test_references_that_are_refused(text: str) -> None:
    """What is not one of the known forms is refused with the forms that are known."""
    with pytest.raises(InvalidError) as caught:
        parse_reference(text)
    assert caught.value.code == "bad-reference"


def test_anything_else_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is made absolute where the command runs."""
    monkeypatch.chdir(tmp_path)
    assert parse_reference("m.gguf") == LocalReference(tmp_path / "m.gguf")
    assert parse_reference("/a/b") == LocalReference(Path("/a/b"))


@pytest.mark.parametrize(
    ("reference", "paths", "name"),
    [
        (LocalReference(Path("/x/My Model.Q4_K_M.gguf")), ["x"], "my-model.q4_k_m"),
        (LocalReference(Path("/x/m-00001-of-00003.gguf")), ["x"], "m"),
        (LocalReference(Path("/x/weights.bin")), ["x"], "weights"),
        (LocalReference(Path("/x/v1.5")), ["x"], "v1.5"),
        (HubReference("org/Name-1B"), ["model.safetensors"], "name-1b"),
        (HubReference("org/Name-GGUF", "Q8_0"), ["sub/Name.Q8_0.gguf"], "name.q8_0"),
    ],
)
def test_suggested_names(reference: LocalReference | HubReference, paths: list[str], name: str) -> None:
    """Without --name a usable name is made of the file or the repository."""
    assert name_or_suggested(None, reference, paths) == name


def test_given_name_is_checked() -> None:
    """A given name is used as it is, or refused."""
    reference = LocalReference(Path("/x/m.gguf"))
    assert name_or_suggested("other", reference, []) == "other"
    for bad in ("../x", "A", "a/b", ".", "", "x" * 64, "a..b"):
        with pytest.raises(InvalidError):
            name_or_suggested(bad, reference, [])


def test_name_that_cannot_be_made() -> None:
    """A file whose name has no usable letter asks for --name."""
    with pytest.raises(InvalidError) as caught:
        name_or_suggested(None, LocalReference(Path("/x/模型.gguf")), [])
    assert caught.value.hint is not None
    assert "--name" in caught.value.hint

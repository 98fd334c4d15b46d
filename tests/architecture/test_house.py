"""The house keeps its own rules: imports point down, the reference is what the code says, sizes stay human."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.reference import FOLDER, pages

from undercroft.cli import COMMANDS
from undercroft.core.settings import section_types

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "undercroft"


def modules() -> Iterator[Path]:
    return (path for path in sorted(SOURCE.rglob("*.py")) if "migrations/versions" not in str(path))


def test_imports_point_down_only() -> None:
    """import-linter refuses an import against the layers of ARCHITECTURE.md."""
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "../guide/doctor.md"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    """A changed option or setting without `python -m tools.reference` fails here."""
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run: python -m tools.reference"


def test_every_setting_is_explained() -> None:
    """A setting without a description is not documented anywhere."""
    for section, kind in section_types().items():
        for key, field in kind.model_fields.items():
            assert field.description, f"{section}.{key}"


def test_every_setting_is_read_somewhere() -> None:
    """A documented setting that no code reads would be a lie."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules() if path.name != "settings.py")
    for section, kind in section_types().items():
        for key in kind.model_fields:
            assert f".{key}" in code, f"{section}.{key} is never read"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_a_module_and_a_sentence(name: str) -> None:
    """What the lazy table promises is there."""
    module, text = COMMANDS[name]
    loaded = importlib.import_module(module)
    assert hasattr(loaded, "app") or callable(getattr(loaded, name))
    assert text.endswith(".")


def test_the_environment_is_read_in_one_module() -> None:
    """`os.environ` and `os.getenv` stand in core/environment.py only."""
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if path != SOURCE / "core" / "environment.py":
            assert "os.environ" not in text, path
            assert "getenv" not in text, path


def test_no_module_is_a_drawer() -> None:
    """Names that say nothing are not used."""
    for path in modules():
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "manager", "misc"}, path


def test_modules_and_functions_fit_in_the_head() -> None:
    """No module over 600 lines, no function over 80."""
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 600, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= 80, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_every_module_says_what_it_is() -> None:
    """Each begins with a docstring."""
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_core_needs_no_heavy_library() -> None:
    """Importing the command line loads neither torch nor numpy nor the engine."""
    code = "import sys, undercroft.cli; print([m for m in ('torch','numpy','xllamacpp','fastapi') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_readme_is_short_and_its_commands_are_marked() -> None:
    """At most 150 lines, with the test command where `.ci/run` finds it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    assert "<!-- test command -->" in text
    assert "pip install -e '.[test]' && pytest" in text
    assert "pip install . && undercroft up" in text


def test_scenarios_are_long() -> None:
    """The everyday suite leaves them out before it chooses: 5 is pytest's word for no test found."""
    file = ROOT / "tests" / "scenario" / "test_edge.py"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "not long", str(file)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 5, found.stdout
    assert re.search(r"no tests collected \([1-9]\d* deselected\)", found.stdout)

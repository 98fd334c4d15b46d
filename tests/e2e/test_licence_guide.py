"""docs/guide/licences.md shows what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide" / "licences.md"


def without_dates(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?", "DATE", text)


def test_the_guide_shows_what_is_printed(tmp_path: Path) -> None:
    """Every command of the page, in its order, prints what stands below it; dates apart."""
    cellar = Cellar(tmp_path, USER="anna", LOGNAME="anna")
    (tmp_path / "here").mkdir()
    write_chat_model(tmp_path / "here" / "support-3b.gguf", licence="cc-by-nc-4.0")
    shown = "".join(re.findall(r"```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    commands = re.findall(r"^\$ undercroft (.*)$", shown, re.MULTILINE)
    printed = ""
    for command in commands:
        words = [word.replace("support-3b.gguf", f"{tmp_path}/here/support-3b.gguf") for word in shlex.split(command)]
        ended = cellar.run(*words, expected=3 if "--use" in words else 0)
        printed += f"$ undercroft {command}\n{ended.stdout}{ended.stderr}".replace(f"{tmp_path}/here/", "")
    assert len(commands) == 4
    assert without_dates(printed) == without_dates(shown)

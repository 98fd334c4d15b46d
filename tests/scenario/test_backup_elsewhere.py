"""Backups of a real home on another machine that breaks off, is full or forgets: what was good stays good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.backups import KEY, NOW, Cellar, contents
from tests.support.kept_objects import REMOTE_KINDS, Kept, kept
from tests.support.troubled import Trouble
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.recovery.checks import find, list_backups
from undercroft.recovery.keys import BackupKey
from undercroft.recovery.pruning import prune
from undercroft.recovery.reading import verify
from undercroft.recovery.restoring import try_restore
from undercroft.recovery.retention import Policy
from undercroft.recovery.store import make_store


@dataclass
class Pair:
    """A home with a model and one backup, and the place of that."""

    cellar: Cellar
    place: Kept

    def states(self) -> list[str]:
        return [one.state for one in list_backups(self.cellar.store())]

    def problems(self) -> dict[str, list[str]]:
        store = self.cellar.store()
        return verify(store, list_backups(store)).problems


@pytest.fixture(params=REMOTE_KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """On each kind of other machine."""
    with kept(request.param, tmp_path) as place:
        cellar = Cellar(tmp_path, KEY, place.objects)
        cellar.add_model()
        cellar.back_up()
        yield Pair(cellar, place)
        cellar.database.close()


def test_a_home_goes_there_and_comes_back(pair: Pair) -> None:
    """Each byte, what did not change only once, and nothing that is seen there tells what it is; the rules hold."""
    cellar = pair.cellar
    before = pair.place.contents()
    second = cellar.back_up()
    assert second.written_objects == 0
    assert len(pair.place.contents()) == len(before) + 1
    store = cellar.store()
    try_restore(cellar.home, store, find(store, None), at=NOW, actor="cli:x")
    assert pair.states() == ["not tried", "counts"]
    cellar.restore()
    assert contents(cellar.folder / "restored") == contents(cellar.home.root)
    assert prune(store, Policy(1, 0, 0, 0)).kept.keys() == {second.manifest.id}
    assert pair.problems() == {}
    digest = next(file.digest for file in second.manifest.files if file.path.startswith("blobs/"))
    seen = b"".join(name.encode() + content for name, content in pair.place.contents().items())
    for secret in (digest[9:].encode(), b"tiny", b"GGUF", b"undercroft.db", b"CREATE TABLE"):
        assert secret not in seen


@pytest.mark.parametrize(("kind", "skip"), [("cut", 3), (500, 1), (507, 2)])
def test_what_is_cut_off_leaves_the_former_backup_good(pair: Pair, kind: int | str, skip: int) -> None:
    """Whatever fails, and wherever: a sentence, one whole backup as before, and the next one works."""
    cellar = pair.cellar
    cellar.add_model("other", seed=1)
    pair.place.server.troubles = [Trouble("PUT", "", kind, skip=skip)]
    with pytest.raises(UnavailableError, match=r"store-unreachable|store-unusable|disk-full"):
        cellar.back_up()
    pair.place.server.troubles = []
    assert pair.states() == ["not tried"]
    assert pair.problems() == {}
    cellar.back_up()
    assert pair.problems() == {}
    assert prune(cellar.store(), Policy(1, 0, 0, 0)).removed


def test_a_flipped_bit_is_found_there(pair: Pair) -> None:
    """By a verification and by a trial; a backup that writes everything anew mends it."""
    cellar = pair.cellar
    store = cellar.store()
    (made,) = list_backups(store)
    assert made.manifest is not None
    model = next(file for file in made.manifest.files if file.path.startswith("blobs/"))
    pair.place.flip(store.name_of(model.pieces[0].digest))
    (found,) = pair.problems()[made.id]
    assert found.startswith(model.path)
    assert pair.states() == ["damaged"]
    with pytest.raises(ConflictError, match="backup-damaged"):
        try_restore(cellar.home, store, find(store, None), at=NOW, actor="cli:x")
    cellar.back_up(must_write=True)
    assert pair.problems() == {}


def test_a_broken_connection_is_no_damage(pair: Pair) -> None:
    """What cannot be read just now is not written down as damaged."""
    pair.place.server.troubles = [Trouble("GET", "objects", "short"), Trouble("GET", "blobs", "short")]
    with pytest.raises(UnavailableError, match="store-unreachable"):
        pair.problems()
    pair.place.server.troubles = []
    assert pair.states() == ["not tried"]


def test_several_homes_meet_there(pair: Pair, tmp_path: Path) -> None:
    """Both keep their backups; another key is told apart, and no key does not go there at all."""
    (tmp_path / "second").mkdir()
    second = Cellar(tmp_path / "second", KEY, pair.place.objects)
    try:
        with pair.cellar.store().shared():
            second.back_up()
    finally:
        second.database.close()
    assert pair.states() == ["not tried", "not tried"]
    assert pair.problems() == {}
    with pytest.raises(InvalidError, match="wrong-key"):
        make_store(pair.place.objects, BackupKey(b"o" * 32))
    with pytest.raises(InvalidError, match=r"needs-key.*another machine"):
        make_store(pair.place.objects, None)

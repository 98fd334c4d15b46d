"""The licence gate: refused before the weights are fetched, let in when somebody accepts, and told to the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ggufs import write_chat_model
from tests.support.hub import Hub, Repository, running_hub
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import parse_use
from undercroft.core.errors import RefusedError
from undercroft.core.home import Home
from undercroft.core.settings import RegistrySettings
from undercroft.registry import models
from undercroft.registry.importing import Arrival
from undercroft.registry.licences import LicenceGate, acceptances
from undercroft.registry.pulling import pull
from undercroft.serving import deployments
from undercroft.serving.deployments import Deployment, DeploymentSettings
from undercroft.storage import journal
from undercroft.storage.database import Database

LARGE_BYTES = 16 * 1024 * 1024


class Cellar:
    """A home, and a hub that it pulls from."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.hub = hub
        self.home = Home(folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)

    def pull(self, reference: str = "hf://org/m", use: str = "internal", **options: Any) -> Arrival:
        settings = RegistrySettings(hub_endpoint=self.hub.url, use=use)
        return pull(self.database, self.home, reference, settings=settings, actor="cli:anna", **options)

    def refused(self, reference: str = "hf://org/m", use: str = "internal") -> RefusedError:
        """The error of a pull that must not leave a model."""
        with pytest.raises(RefusedError) as caught:
            self.pull(reference, use)
        with self.database.read() as connection:
            assert models.list_models(connection) == []
        return caught.value

    def journalled(self) -> list[journal.Entry]:
        with self.database.read() as connection:
            return [entry for entry, _ in journal.entries(connection)]


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    return write_chat_model(tmp_path / "m.gguf").read_bytes()


@pytest.fixture
def cellar(tmp_path: Path, gguf: bytes) -> Iterator[Cellar]:
    with running_hub({"org/m": Repository({"m.gguf": gguf})}) as hub:
        made = Cellar(tmp_path, hub)
        yield made
        made.database.close()


def test_refused_by_the_hubs_card_before_anything_is_fetched(cellar: Cellar) -> None:
    """The card of the listing is enough: no file is asked for, and the error says what to read and to give."""
    cellar.hub.repositories["org/m"].card = {"license": "llama3.2"}
    error = cellar.refused()
    assert error.code == "licence-not-accepted"
    assert "hf://org/m: The Llama 3.2 Community License Agreement covers use inside an organisation" in error.message
    assert "'Built with Llama'" in error.message
    assert "https://www.llama.com/llama3_2/license/" in error.message
    assert "--accept-licence" in str(error.hint)
    assert cellar.hub.sent_bytes == {}


def test_refused_by_the_card_beside_the_weights(cellar: Cellar, gguf: bytes) -> None:
    """Where the hub's answer has no card, the card's own file is fetched, and the weights are not."""
    readme = b"---\nlicense: other\nlicense_name: qwen-research\n---\n"
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf, "README.md": readme})
    error = cellar.refused()
    assert error.code == "licence-refuses-use"
    assert "does not cover use inside an organisation" in error.message
    assert set(cellar.hub.sent_bytes) == {"README.md"}


def test_refused_by_the_text_of_the_licence(cellar: Cellar, gguf: bytes) -> None:
    """Without a card, the text of a well-known licence beside the weights says it."""
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf, "LICENSE": b"# Gemma Terms of Use\n"})
    assert "The Gemma Terms of Use covers" in cellar.refused().message
    assert set(cellar.hub.sent_bytes) == {"LICENSE"}


def test_refused_by_the_header_of_a_large_file(cellar: Cellar, tmp_path: Path) -> None:
    """Where nothing else says it, the header of a GGUF is read by range, and the rest of the file is not fetched."""
    large = write_chat_model(tmp_path / "l.gguf", width=512, layers=6, licence="llama3.1").read_bytes()
    assert len(large) > LARGE_BYTES
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": large})
    assert "Llama 3.1 Community License" in cellar.refused().message
    assert cellar.hub.sent_bytes["m.gguf"] <= 1024 * 1024


def test_a_free_card_over_a_large_file_that_says_otherwise(cellar: Cellar, tmp_path: Path) -> None:
    """The header is looked at before the weights are fetched, whatever card and catalogue promise."""
    large = write_chat_model(tmp_path / "l.gguf", width=512, layers=6, licence="cc-by-nc-4.0").read_bytes()
    assert len(large) > LARGE_BYTES
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": large}, card={"license": "apache-2.0"})
    assert "Attribution-NonCommercial 4.0 does not cover commercial use" in cellar.refused(use="commercial").message
    assert cellar.hub.sent_bytes["m.gguf"] <= 1024 * 1024


def test_refused_by_the_catalogue(cellar: Cellar, gguf: bytes) -> None:
    """A repository of the catalogue has its licence even where the hub says nothing; a copy elsewhere has not."""
    cellar.hub.repositories["meta-llama/Llama-3.2-1B-Instruct"] = Repository({"m.gguf": gguf})
    assert "Llama 3.2" in cellar.refused("hf://meta-llama/Llama-3.2-1B-Instruct").message
    assert cellar.hub.sent_bytes == {}
    cellar.hub.repositories["someone/Llama-3.2-1B-Instruct"] = Repository({"m.gguf": gguf})
    assert cellar.pull("hf://someone/Llama-3.2-1B-Instruct").is_new


def test_a_local_file_is_refused_before_it_has_a_name(cellar: Cellar, tmp_path: Path) -> None:
    """What the file itself says counts, and the file stays where it was."""
    path = write_chat_model(tmp_path / "x.gguf", licence="mrl")
    assert cellar.refused(str(path)).code == "licence-refuses-use"
    assert path.exists()
    assert cellar.pull(str(path), "research", accepts_licence=True).model.facts.licence == "mrl"


def test_weights_that_say_otherwise_than_their_card(cellar: Cellar, tmp_path: Path) -> None:
    """A card that promises more than the weights' own metadata does not let them in."""
    own = write_chat_model(tmp_path / "x.gguf", licence="cc-by-nc-4.0").read_bytes()
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": own}, card={"license": "apache-2.0"})
    error = cellar.refused(use="commercial")
    assert "Attribution-NonCommercial 4.0 does not cover commercial use" in error.message


@pytest.mark.parametrize(
    ("header", "card", "text"),
    [
        ("apache-2.0", "license: cc-by-nc-4.0", None),
        ("cc-by-nc-4.0", "license: apache-2.0", None),
        (None, "license: [apache-2.0, cc-by-nc-4.0]", None),
        (None, "license: mit", "Creative Commons Attribution-NonCommercial 4.0 International"),
        ("apache-2.0 AND cc-by-nc-4.0", "license: other", None),
    ],
)
@pytest.mark.parametrize("is_on_hub", [True, False])
def test_sources_that_contradict_each_other(
    cellar: Cellar, tmp_path: Path, header: str | None, card: str, text: str | None, is_on_hub: bool
) -> None:
    """Header, card and text of a licence are not weighed: the strictest refuses, and all of them are shown."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_chat_model(folder / "m.gguf", licence=header)
    (folder / "README.md").write_text(f"---\n{card}\n---\n", encoding="utf-8")
    if text is not None:
        (folder / "LICENSE").write_text(text, encoding="utf-8")
    cellar.hub.repositories["org/m"] = Repository({path.name: path.read_bytes() for path in folder.iterdir()})
    reference = "hf://org/m" if is_on_hub else str(folder)
    error = cellar.refused(reference, "commercial")
    assert error.code == "licence-refuses-use"
    assert "Attribution-NonCommercial 4.0 does not cover commercial use" in error.message
    # A hub's card alone may refuse, before the weights and what they say are fetched.
    assert is_on_hub or "name several licences; each of them has to cover the use" in error.message
    named = cellar.pull(reference, "research").model.facts.licence
    assert "cc-by-nc-4.0" in named
    assert " AND " in named


def test_all_of_several_licences_are_accepted(cellar: Cellar) -> None:
    """Accepting lets pass what each of them asks, and the journal has an entry on each, once."""
    cellar.hub.repositories["org/m"].card = {"license": ["gemma", "llama3.2", "mit", "their-own"]}
    cellar.refused(use="commercial")
    model = cellar.pull(use="commercial", accepts_licence=True).model
    assert model.facts.licence == "gemma AND llama3.2 AND mit AND their-own"
    entries = cellar.journalled()
    assert [(e.action, e.subject) for e in entries[:-1]] == [
        ("licence.accept", name) for name in ("gemma", "llama3.2", "their-own")
    ]
    assert entries[-1].after is not None
    assert entries[-1].after["licence"] == "gemma AND llama3.2 AND their-own AND mit"


def test_what_only_the_hub_says_stays_with_the_model(cellar: Cellar) -> None:
    """A licence of the listing, or of the catalogue, is in the model's facts even where no file says it."""
    cellar.hub.repositories["org/m"].card = {"license": "mit"}
    assert cellar.pull().model.facts.licence == "mit"


def test_a_hostile_licence_is_cut_and_unknown(cellar: Cellar, tmp_path: Path) -> None:
    """A megabyte in the header's licence, or in the card's, is shown in part and let in for no commerce."""
    path = write_chat_model(tmp_path / "x.gguf", licence="x" * 1_000_000)
    assert len(cellar.refused(str(path), "commercial").message) < 1000
    assert len(cellar.pull(str(path)).model.facts.licence) <= 200
    cellar.hub.repositories["org/m"].card = {"license": ["y" * 1_000_000] * 1000}
    with pytest.raises(RefusedError) as caught:
        cellar.pull(use="commercial")
    assert len(caught.value.message) < 1000


def test_acceptance_is_kept_with_who_when_what(cellar: Cellar) -> None:
    """Accepting lets the model in; the journal and the table say who accepted what, and the model's entry its use."""
    cellar.hub.repositories["org/m"].card = {"license": "llama3.2"}
    cellar.pull(accepts_licence=True, reason="agreed with legal")
    accepted, added = cellar.journalled()
    assert (accepted.action, accepted.subject, accepted.actor) == ("licence.accept", "llama3.2", "cli:anna")
    assert accepted.reason == "agreed with legal"
    assert accepted.after is not None
    assert added.after is not None
    assert accepted.after["use"] == "internal"
    assert accepted.after["outcome"] == "needs-acceptance"
    assert accepted.after["model"] == "hf://org/m"
    assert (added.after["licence"], added.after["use"]) == ("llama3.2", "internal")
    with cellar.database.read() as connection:
        (kept,) = acceptances(connection)
    assert (kept.licence, str(kept.use), kept.actor) == ("llama3.2", "internal", "cli:anna")


def test_what_was_accepted_is_not_asked_again(cellar: Cellar, gguf: bytes) -> None:
    """Another model of the same licence and use passes; another use of it does not."""
    cellar.hub.repositories["org/m"].card = {"license": "llama3.2"}
    cellar.pull(accepts_licence=True)
    cellar.hub.repositories["org/other"] = Repository({"o.gguf": gguf}, card={"license": "llama3.2"})
    assert cellar.pull("hf://org/other").is_new
    assert [entry.action for entry in cellar.journalled()] == ["licence.accept", "model.add", "model.add"]
    with pytest.raises(RefusedError, match="covers commercial use under conditions"):
        cellar.pull("hf://org/m", "commercial", name="again")


def test_a_model_that_is_there_is_judged_for_a_new_use(cellar: Cellar) -> None:
    """What came in for research does not become commercial by pulling it again."""
    cellar.hub.repositories["org/m"].card = {"license": "mrl"}
    cellar.pull(use="research", accepts_licence=True)
    assert not cellar.pull(use="research").is_new
    with pytest.raises(RefusedError, match="does not cover commercial use"):
        cellar.pull(use="commercial")


def test_an_unknown_licence_is_accepted_one_model_at_a_time(cellar: Cellar, gguf: bytes) -> None:
    """Commercial use of a model without a licence is refused; accepting it says nothing of the next such model."""
    error = cellar.refused(use="commercial")
    assert "Its licence is not known" in error.message
    cellar.pull(use="commercial", accepts_licence=True)
    assert cellar.journalled()[0].subject == "unknown"
    with cellar.database.read() as connection:
        assert acceptances(connection) == []
    cellar.hub.repositories["org/other"] = Repository({"o.gguf": gguf}, card={"license": "their-own"})
    with pytest.raises(RefusedError, match="names the licence 'their-own', of which there are no facts"):
        cellar.pull("hf://org/other", "commercial", name="other")


def test_an_unknown_licence_is_asked_of_the_header_first(cellar: Cellar, tmp_path: Path) -> None:
    """Where nothing else says it: a small file is looked into when it is here, a large one before it is fetched."""
    free = write_chat_model(tmp_path / "f.gguf", licence="apache-2.0").read_bytes()
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": free})
    assert cellar.pull(use="commercial").model.facts.licence == "apache-2.0"
    large = write_chat_model(tmp_path / "l.gguf", width=512, layers=6).read_bytes()
    assert len(large) > LARGE_BYTES
    cellar.hub.repositories["org/large"] = Repository({"l.gguf": large})
    with pytest.raises(RefusedError, match="Its licence is not known"):
        cellar.pull("hf://org/large", "commercial")
    assert cellar.hub.sent_bytes["l.gguf"] <= 1024 * 1024


def test_a_hub_without_parts_is_asked_for_the_whole(cellar: Cellar, tmp_path: Path) -> None:
    """Where the header cannot be read alone, the file that is here says whether it stays."""
    large = write_chat_model(tmp_path / "l.gguf", width=512, layers=6, licence="mit").read_bytes()
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": large})
    cellar.hub.ignores_ranges = True
    assert cellar.pull(use="commercial").model.facts.licence == "mit"


def test_a_free_licence_is_not_asked_for(cellar: Cellar) -> None:
    """Apache-2.0 passes for every use, and nothing is accepted."""
    cellar.hub.repositories["org/m"].card = {"license": "apache-2.0"}
    assert cellar.pull(use="commercial,users=2000000000").is_new
    assert [entry.action for entry in cellar.journalled()] == ["model.add"]


def test_the_option_goes_before_the_setting(cellar: Cellar) -> None:
    """A use given with the command is the one that is judged."""
    cellar.hub.repositories["org/m"].card = {"license": "mrl"}
    settings = RegistrySettings(hub_endpoint=cellar.hub.url, use="research")
    with pytest.raises(RefusedError, match="does not cover commercial use"):
        pull(
            cellar.database, cellar.home, "hf://org/m", settings=settings, actor="cli:anna", use=parse_use("commercial")
        )


def test_facts_of_the_users_own(cellar: Cellar) -> None:
    """An organisation that has a contract states its facts, and models under it come in."""
    cellar.hub.repositories["org/m"].card = {"license": "other", "license_name": "acme-contract"}
    cellar.refused(use="commercial")
    cellar.home.catalogue.mkdir()
    (cellar.home.catalogue / "licences.yaml").write_text(
        "acme-contract:\n  name: Contract with Acme\n  version: 2026-01-01\n  url: https://example.org/contract\n"
        "  grants: {commercial: allowed, internal: allowed, research: allowed, personal: allowed}\n",
        encoding="utf-8",
    )
    assert cellar.pull(use="commercial").is_new


def serve(cellar: Cellar, use: str, *, is_accepted: bool = False, name: str = "bot") -> Deployment:
    gate = LicenceGate(cellar.database, load_licences(), parse_use(use), is_accepted=is_accepted, actor="cli:anna")
    return deployments.create(
        cellar.database,
        name=name,
        engine="llama.cpp",
        model="m",
        settings=DeploymentSettings(),
        actor="cli:anna",
        gate=gate,
    )


def test_a_model_from_before_the_gate_is_judged_when_it_is_served(cellar: Cellar, tmp_path: Path) -> None:
    """Its licence is compared with what models are used for then; accepting it is kept, and nothing is asked again."""
    path = write_chat_model(tmp_path / "m.gguf", licence="gemma")
    models.add_local(cellar.database, cellar.home, path, name="m", actor="cli:anna")
    with pytest.raises(RefusedError, match="model 'm': The Gemma Terms of Use covers use inside an organisation"):
        serve(cellar, "internal")
    with cellar.database.read() as connection:
        assert deployments.list_all(connection) == []
    serve(cellar, "internal", is_accepted=True)
    assert [entry.action for entry in cellar.journalled()] == ["model.add", "licence.accept", "deployment.create"]
    assert serve(cellar, "internal", name="again").model == "m"


def test_a_model_is_served_for_the_use_that_it_came_in_for(cellar: Cellar) -> None:
    """What was judged when it came in is not judged again; another use is."""
    cellar.hub.repositories["org/m"].card = {"license": "their-own"}
    cellar.pull(use="commercial,users=1000", accepts_licence=True)
    assert serve(cellar, "commercial").name == "bot"
    with pytest.raises(RefusedError, match="names the licence 'their-own'"):
        serve(cellar, "commercial,users=2000", name="larger")

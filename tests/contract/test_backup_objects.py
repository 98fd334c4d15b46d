"""One suite for every place that keeps backups: a folder, a bucket behind S3, a repository of an OCI registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.buckets import Bucket, running_bucket
from tests.support.kept_objects import KINDS, REMOTE_KINDS, Kept, flipped, in_bucket, in_repository, kept
from tests.support.registries import PASSWORD, Registry, running_registry
from tests.support.troubled import Trouble
from undercroft.core.errors import ConflictError, RefusedError, UnavailableError
from undercroft.recovery.objects.contract import MARKER
from undercroft.recovery.sealing import DamagedError

NAME = "objects/ab/cdef0123"


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """Each kind in turn."""
    with kept(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=REMOTE_KINDS)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """Each kind that another machine keeps."""
    with kept(request.param, tmp_path) as made:
        yield made


def read(place: Kept, limit_bytes: int) -> bytes | str | None:
    """An object, or what is wrong with it."""
    try:
        return place.objects.get(NAME, limit_bytes)
    except DamagedError as error:
        return str(error)


@pytest.mark.parametrize("content", [b"x", b"", bytes(range(256)) * 5000])
def test_what_was_put_is_there(place: Kept, content: bytes) -> None:
    """Its bytes, its length, its name; before that there is nothing."""
    assert place.objects.get(NAME, 10_000_000) is None
    assert place.objects.size_bytes(NAME) is None
    assert place.objects.add(NAME, content)
    assert place.objects.get(NAME, 10_000_000) == content
    assert place.objects.size_bytes(NAME) == len(content)
    assert list(place.objects.names("objects")) == [NAME]


def test_what_is_there_is_not_overwritten_by_adding(place: Kept) -> None:
    """Adding says so and leaves it; replacing replaces it."""
    assert place.objects.add(NAME, b"first")
    assert not place.objects.add(NAME, b"second")
    assert place.objects.get(NAME, 100) == b"first"
    place.objects.replace(NAME, b"third!")
    assert place.objects.get(NAME, 100) == b"third!"
    assert place.objects.size_bytes(NAME) == 6


def test_no_more_is_read_than_the_limit(place: Kept) -> None:
    """Whoever reads can see that it is longer, and need not hold all of it."""
    place.objects.add(NAME, b"0123456789")
    assert read(place, 4) in (b"01234", "it is longer than 4 bytes")
    assert place.objects.get(NAME, 10) == b"0123456789"


def test_names_are_listed_by_folder(place: Kept) -> None:
    """Sorted, all of them, over however many pages; the marker is in no folder."""
    names = sorted(f"objects/{number % 3:02}/{number:03}" for number in range(12))
    if isinstance(place.remote, Bucket):
        place.remote.page_keys = 5
    if isinstance(place.remote, Registry):
        place.remote.page_tags = 5
    for name in (*names, "backups/one", MARKER):
        place.objects.add(name, name.encode())
    assert list(place.objects.names("objects")) == names
    assert list(place.objects.names("backups")) == ["backups/one"]
    assert list(place.objects.names("checks")) == []
    assert place.objects.get(MARKER, 100) == MARKER.encode()


def test_what_is_removed_is_gone_alone(place: Kept) -> None:
    """Others stay; removing what is not there is nothing."""
    other = "objects/ab/other"
    place.objects.add(NAME, b"same")
    place.objects.add(other, b"different")
    place.objects.remove(NAME)
    place.objects.remove(NAME)
    assert list(place.objects.names("objects")) == [other]
    assert place.objects.get(NAME, 100) is None
    assert place.objects.get(other, 100) == b"different"
    assert place.objects.add(NAME, b"anew")


def test_who_removes_is_alone(place: Kept) -> None:
    """Many may read and add together; one who removes is refused meanwhile, and keeps others away; each is told who."""
    busy = pytest.raises(ConflictError, match="store-busy")
    with place.objects.locked(is_exclusive=False), place.objects.locked(is_exclusive=False):
        with busy as refused, place.objects.locked(is_exclusive=True):
            pass
        assert "another backup, restore or verification" in str(refused.value)
        place.objects.settle()
    with place.objects.locked(is_exclusive=True):
        for is_exclusive in (False, True):
            with busy as refused, place.objects.locked(is_exclusive=is_exclusive):
                pass
        place.objects.settle()
    with place.objects.locked(is_exclusive=True):
        pass
    assert list(place.objects.names("leases") if place.remote else []) == []


def test_a_flipped_bit_is_not_hidden(place: Kept) -> None:
    """What comes back is not the same, or the place itself says that it is damaged; never the old bytes."""
    place.objects.add(NAME, b"0123456789")
    place.flip(NAME)
    damaged = "the registry sent something else: its digest does not hold"
    assert read(place, 10) == (damaged if isinstance(place.remote, Registry) else flipped(b"0123456789"))


@pytest.mark.parametrize("kind", [500, 503, 429, "cut"])
def test_what_fails_once_is_done_again(remote: Kept, kind: int | str) -> None:
    """Putting, reading, listing and removing each get over two failures in a row."""
    remote.server.troubles = [Trouble("PUT", "", kind, 2), Trouble("GET", "", kind, 2), Trouble("DELETE", "", kind, 2)]
    remote.objects.replace(NAME, b"content")
    assert remote.objects.get(NAME, 100) == b"content"
    assert list(remote.objects.names("objects")) == [NAME]
    remote.objects.remove(NAME)
    assert remote.objects.get(NAME, 100) is None
    assert not any(trouble.times for trouble in remote.server.troubles)


def test_an_answer_that_ends_too_early_is_asked_for_again(remote: Kept) -> None:
    """Half an object is never taken for one."""
    content = bytes(range(256)) * 9000
    remote.objects.add(NAME, content)
    remote.server.troubles = [
        Trouble("GET", "cdef0123" if isinstance(remote.server, Bucket) else "/blobs/", "short", 1)
    ]
    assert remote.objects.get(NAME, len(content)) == content
    remote.server.troubles[0].times = 1_000
    with pytest.raises(UnavailableError, match="store-unreachable"):
        remote.objects.get(NAME, len(content))


@pytest.mark.parametrize(("kind", "code"), [("cut", "store-unreachable"), (507, "disk-full"), (403, "store-refused")])
def test_what_fails_for_good_leaves_what_was_there(remote: Kept, kind: int | str, code: str) -> None:
    """A sentence for each; the old object is whole, the new one is not there."""
    remote.objects.replace(NAME, b"old")
    remote.server.troubles = [Trouble("PUT", "", kind)]
    for name in (NAME, "objects/ab/new"):
        with pytest.raises((RefusedError, UnavailableError), match=code):
            remote.objects.replace(name, b"newer")
    remote.server.troubles = []
    assert remote.objects.get(NAME, 100) == b"old"
    assert list(remote.objects.names("objects")) == [NAME]


def test_a_connection_that_cannot_be_made_is_said(remote: Kept) -> None:
    """The server is there and ends every connection: what failed, and what to look at."""
    remote.server.troubles = [Trouble(method, "", "cut") for method in ("GET", "HEAD")]
    for act in (lambda: remote.objects.get(NAME, 9), lambda: remote.objects.size_bytes(NAME)):
        with pytest.raises(UnavailableError, match=r"store-unreachable[\s\S]*backup\.endpoint"):
            act()


def test_a_lease_that_was_taken_is_noticed(remote: Kept) -> None:
    """Somebody took this process for dead: it does not say that its backup is good."""
    with remote.objects.locked(is_exclusive=False):
        for name in list(remote.objects.names("leases")):
            remote.objects.remove(name)
        with pytest.raises(ConflictError, match="lock-lost"):
            remote.objects.settle()


def test_who_may_only_read_reads(remote: Kept) -> None:
    """Without a lock, since none can be written; adding and removing are refused."""
    remote.objects.add(NAME, b"x")
    remote.server.troubles = [Trouble(method, "", 403) for method in ("PUT", "POST", "DELETE")]
    with remote.objects.locked(is_exclusive=False):
        assert remote.objects.get(NAME, 9) == b"x"
        remote.objects.settle()
        for act in (lambda: remote.objects.add("objects/ab/new", b"y"), lambda: remote.objects.remove(NAME)):
            with pytest.raises(RefusedError, match="store-refused"):
                act()
    with pytest.raises(RefusedError, match="store-refused"), remote.objects.locked(is_exclusive=True):
        pass


@pytest.mark.parametrize("left", [b'{"at": "2020-01-01T00:00:00+00:00"}', b"{}", b"\xff"])
def test_what_a_dead_process_left_is_passed_over(remote: Kept, left: bytes) -> None:
    """An old lease, one that was given back where nothing can be removed, and no lease at all keep nobody away."""
    remote.objects.replace("leases/exclusive-1", left)
    with remote.objects.locked(is_exclusive=False):
        pass
    assert list(remote.objects.names("leases")) == []


@pytest.mark.parametrize("asks", ["basic", "bearer"])
def test_a_registry_is_shown_what_it_asks_for(asks: str) -> None:
    """A password or a token; the wrong one, and none, are refused with a sentence that holds no secret."""
    with running_registry() as registry:
        registry.asks = asks  # type: ignore[assignment]
        assert in_repository(registry, secret=PASSWORD).add(NAME, b"x")
        for wrong in ("another secret", None):
            with pytest.raises(RefusedError, match="store-refused") as refused:
                in_repository(registry, secret=wrong).get(NAME, 9)
            assert "another secret" not in str(refused.value)


def test_a_store_is_shown_a_signature() -> None:
    """One that another secret made is refused, with a sentence that holds no secret."""
    with running_bucket() as bucket:
        assert in_bucket(bucket).add(NAME, b"x")
        with pytest.raises(RefusedError, match=r"store-refused[\s\S]*credentials_file") as refused:
            in_bucket(bucket, secret="another secret").get(NAME, 9)
        assert "another secret" not in str(refused.value)


def test_variables_of_other_programs_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile, an endpoint, keys and a token in the environment change neither where to nor who."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(name, "nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with running_bucket(is_tls=True) as bucket:
        assert in_bucket(bucket).add(NAME, b"x")
        assert list(bucket.objects) == [f"cellar/{NAME}"]


def test_certificates_are_those_of_the_file() -> None:
    """Both speak TLS to who trusts them, and to nobody else."""
    with running_bucket(is_tls=True) as bucket, running_registry(is_tls=True) as registry:
        for objects in (in_bucket(bucket), in_repository(registry)):
            assert objects.add(NAME, b"x")
            assert objects.get(NAME, 9) == b"x"
        for objects in (in_bucket(bucket, is_trusting=False), in_repository(registry, is_trusting=False)):
            with pytest.raises(UnavailableError, match=r"store-unreachable[\s\S]*backup\.ca_file"):
                objects.get(NAME, 9)


def test_large_objects_go_in_parts() -> None:
    """Whole or not at all: one that is there stays, one that failed leaves nothing, sweeping removes parts."""
    with running_bucket() as bucket:
        objects = in_bucket(bucket)
        objects._part_bytes = 1000
        content = bytes(range(250)) * 10
        assert objects.add(NAME, content)
        assert not objects.add(NAME, content)
        assert objects.get(NAME, 10_000) == content
        bucket.troubles = [Trouble("PUT", "partNumber=3", 400), Trouble("DELETE", "", 500)]
        with pytest.raises(UnavailableError, match="store-unusable"):
            objects.add("objects/ab/other", content)
        assert len(bucket.uploads) == 1
        bucket.troubles = []
        objects.sweep()
        assert not bucket.uploads
        assert list(objects.names("objects")) == [NAME]


def test_locked_objects_of_a_bucket_stay() -> None:
    """Object lock: removing is refused with a sentence."""
    with running_bucket() as bucket:
        objects = in_bucket(bucket)
        objects.add(NAME, b"x")
        bucket.locked = {f"cellar/{NAME}"}
        with pytest.raises(RefusedError, match=r"store-refused[\s\S]*locked"):
            objects.remove(NAME)


def test_a_registry_that_lets_nobody_remove_says_so() -> None:
    """Nothing is removed; where only blobs stay, its own cleaning frees them; locks work nevertheless."""
    with running_registry() as registry:
        objects = in_repository(registry)
        objects.add(NAME, b"x")
        registry.can_remove = frozenset()
        with pytest.raises(RefusedError, match="removal-refused"):
            objects.remove(NAME)
        assert objects.get(NAME, 9) == b"x"
        for is_exclusive in (True, False, True):
            with objects.locked(is_exclusive=is_exclusive):
                pass
        registry.can_remove = frozenset({"manifests"})
        assert not objects.remove(NAME)
        assert list(objects.names("objects")) == []


def test_cleaning_of_a_registry_takes_nothing_that_is_needed() -> None:
    """Every object has a tag of its own."""
    with running_registry() as registry:
        objects = in_repository(registry)
        for number in range(5):
            objects.replace(f"objects/ab/{number}", b"%d" % number)
            objects.replace(f"objects/ab/{number}", b"again %d" % number)
        registry.collect_garbage()
        assert [objects.get(name, 99) for name in objects.names("objects")] == [b"again %d" % one for one in range(5)]


def test_a_password_is_not_shown_to_another_host() -> None:
    """A registry that sends a reader elsewhere for a blob does not make it show its password there."""
    with running_registry() as registry, running_registry() as elsewhere:
        registry.asks = "basic"
        objects = in_repository(registry, secret=PASSWORD)
        objects.add(NAME, b"x")
        elsewhere.asks = "basic"
        with pytest.raises(RefusedError, match="store-refused"):
            objects._client.ask("GET", f"{elsewhere.url}/v2/", expected=(200,))

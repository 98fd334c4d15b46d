"""A folder of wheels installs this package, or the bundle is not made."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.bundles import BundleHome
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.recovery.bundles.reading import open_bundle, verify
from undercroft.recovery.bundles.wheels import missing_from, wheels_in, whole_set


def write_wheel(folder: Path, name: str, version: str = "1.0", *requires: str, licence: str = "MIT") -> Path:
    """A wheel with metadata and nothing else."""
    folder.mkdir(exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"License: {licence}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join([*lines, "", ""]))
    return path


def test_a_whole_set_is_taken(tmp_path: Path) -> None:
    """What needs what is followed through extras and markers of this Python; circles end."""
    write_wheel(tmp_path / "w", "undercroft", "0.1.0", "web[fast]>=1", "none; python_version < '3'", "x; extra == 't'")
    write_wheel(tmp_path / "w", "web", "2.0", "loop>=3; extra == 'fast'", "Deep_Down")
    write_wheel(tmp_path / "w", "loop", "3.1", "web")
    write_wheel(tmp_path / "w", "deep_down", "1.0")
    wheels = whole_set(tmp_path / "w")
    assert [(wheel.name, wheel.version, wheel.licence) for wheel in wheels] == [
        ("deep-down", "1.0", "MIT"),
        ("loop", "3.1", "MIT"),
        ("undercroft", "0.1.0", "MIT"),
        ("web", "2.0", "MIT"),
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A project that is not there, and one that is too old."""
    write_wheel(tmp_path / "w", "undercroft", "0.1.0", "web[fast]>=1", "other")
    write_wheel(tmp_path / "w", "web", "0.9")
    assert missing_from(wheels_in(tmp_path / "w")) == ["other", "web>=1"]
    with pytest.raises(InvalidError, match=r"wheels-missing: .* other, web>=1"):
        whole_set(tmp_path / "w")
    write_wheel(tmp_path / "v", "web")
    assert missing_from(wheels_in(tmp_path / "v")) == ["undercroft"]


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    """No folder, no wheel, a name or a content that is none."""
    with pytest.raises(NotFoundError, match="no-wheels"):
        wheels_in(tmp_path / "none")
    good = write_wheel(tmp_path / "w", "a")
    for name, content in (("b.whl", good.read_bytes()), ("c-1.0-py3-none-any.whl", b"x")):
        path = tmp_path / "w" / name
        path.write_bytes(content)
        with pytest.raises(InvalidError, match="bad-wheel"):
            wheels_in(tmp_path / "w")
        path.unlink()


def test_wheels_travel_and_stay_in_the_file(tmp_path: Path) -> None:
    """They are entries with a digest like all others; an import installs nothing."""
    write_wheel(tmp_path / "w", "undercroft", "0.1.0", "web")
    write_wheel(
        tmp_path / "w",
        "web",
        "1.0",
        licence="Some text that is longer than any name of a licence would ever be, surely",
    )
    source, target = BundleHome(tmp_path / "source").fill(), BundleHome(tmp_path / "target")
    source.export(tmp_path / "x.bundle", wheels=tmp_path / "w")
    with open_bundle(tmp_path / "x.bundle") as bundle:
        verify(bundle)
        paths = [entry.path for entry in bundle.manifest.below("wheels")]
    assert paths == ["wheels/undercroft-0.1.0-py3-none-any.whl", "wheels/web-1.0-py3-none-any.whl"]
    assert target.take_in(tmp_path / "x.bundle").models == ("tiny",)
    source.close()
    target.close()

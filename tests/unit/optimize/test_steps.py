"""What a step leaves: one GGUF or a folder of files, and whether all of it is still there."""

from __future__ import annotations

from pathlib import Path

from undercroft.optimize.steps import Workspace, files_of, is_whole, note_files, result_of


def work_in(folder: Path) -> Workspace:
    return Workspace(folder / "source", folder, seed=0, threads=1)


def test_one_file_is_called_by_the_new_name(tmp_path: Path) -> None:
    """A GGUF comes into the registry under the name of the new model."""
    work_in(tmp_path).result.write_bytes(b"GGUF")
    result = result_of(tmp_path)
    assert result is not None
    assert files_of(result, "small") == {"small.gguf": result}


def test_files_of_a_folder_keep_their_names(tmp_path: Path) -> None:
    """What a step leaves in its folder comes into the registry as it is called there, folders inside it too."""
    folder = work_in(tmp_path).result_folder
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("model.onnx", "1_Pooling/config.json"):
        (folder / name).write_bytes(b"content")
    result = result_of(tmp_path)
    assert result == folder
    assert list(files_of(folder, "small")) == ["1_Pooling/config.json", "model.onnx"]


def test_nothing_made_is_no_result(tmp_path: Path) -> None:
    """A step that left nothing, or an empty folder, has made nothing."""
    assert result_of(tmp_path) is None
    work_in(tmp_path).result_folder.mkdir()
    assert result_of(tmp_path) is None
    assert not is_whole(tmp_path)


def test_a_result_that_was_half_moved_away_is_missed(tmp_path: Path) -> None:
    """A step whose files were noted is whole until one of them is gone."""
    folder = work_in(tmp_path).result_folder
    folder.mkdir()
    for name in ("model.onnx", "config.json"):
        (folder / name).write_bytes(b"content")
    assert not is_whole(tmp_path)
    note_files(tmp_path)
    assert is_whole(tmp_path)
    (folder / "model.onnx").rename(tmp_path / "moved")
    assert not is_whole(tmp_path)

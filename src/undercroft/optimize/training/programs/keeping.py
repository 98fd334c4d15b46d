"""What a training keeps to go on from: written whole or not at all, so that a kill at any moment loses only time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

_CHECKPOINT = "checkpoint.pt"


class Keeper:
    """The folder of one order.

    Args:
        folder: Where it keeps things.
        order: What it is for; what another order left is not taken.
    """

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self._folder = folder
        known = {name: value for name, value in order.items() if name != "threads"}
        self._order = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def load(self) -> dict[str, Any] | None:
        """What was kept last; None where nothing was, or for another order."""
        try:
            found: dict[str, Any] = torch.load(self._folder / _CHECKPOINT, weights_only=True)
        except FileNotFoundError:
            return None
        return found if found["order"] == self._order else None

    def keep(self, state: dict[str, Any]) -> None:
        """Replaces what was kept.

        Raises:
            OSError: The disk is full; what was kept before is still there.
        """
        self._write(_CHECKPOINT, {**state, "order": self._order})

    def keep_best(self, weights: dict[str, torch.Tensor], step: int) -> None:
        """Writes weights under their step; earlier ones stay until `forget_others`."""
        self._write(f"best-{step}.pt", {name: one.detach() for name, one in weights.items()})

    def load_best(self, step: int) -> dict[str, torch.Tensor]:
        """Those of a step."""
        found: dict[str, torch.Tensor] = torch.load(self._folder / f"best-{step}.pt", weights_only=True)
        return found

    def forget_others(self, step: int | None) -> None:
        """Removes the weights of other steps, once what was kept no longer names them."""
        for path in self._folder.glob("best-*.pt"):
            if path.name != f"best-{step}.pt":
                path.unlink()

    def _write(self, name: str, content: Any) -> None:
        temporary = self._folder / f".{name}"
        with temporary.open("wb") as file:
            stream = _Remembering(file)
            try:
                torch.save(content, stream)
            except RuntimeError as error:  # torch's own words for what the system refused
                raise stream.refused or OSError(errno.EIO, str(error)) from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / name)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Remembering:
    """A stream that keeps the error of the system, which torch hides."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.refused: OSError | None = None

    def write(self, piece: Any) -> int:
        """Writes, and remembers why it could not."""
        try:
            return int(self._file.write(piece))
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        """As a stream has it."""
        self._file.flush()

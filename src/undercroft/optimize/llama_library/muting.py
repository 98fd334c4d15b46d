"""In the worker: a model that computes as if some inputs of its weights were always zero.

This is what a model is like from which they were cut, without a file of it. The library calls back before and after
each node of its graph; the node that makes an input is stopped at, and its columns are overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library import layout
from undercroft.optimize.llama_library.binding import LlamaLibrary

Muted = Mapping[str, Sequence[int]]

_FLOAT_TYPE = 0


class Muter:
    """Overwrites while the library computes. Learns from a first computation which node makes which weight's input.

    Args:
        library: Whose graph it is.
    """

    def __init__(self, library: LlamaLibrary) -> None:
        self._library = library
        self._makers: dict[str, bytes] = {}
        self._columns: dict[bytes, NDArray[np.int64]] = {}
        self._is_learning = True
        self.failure: BaseException | None = None
        self.observer = layout.EVALUATED(self._observe)

    def learnt(self) -> None:
        """Ends the first computation: from now on `mute` counts."""
        self._is_learning = False

    def mute(self, muted: Muted) -> None:
        """Which inputs are zero from now on, in place of those before.

        Args:
            muted: Name of a weight → columns, from 0.

        Raises:
            InvalidError: ``weight-not-used``: the model multiplies nothing by such a weight.
        """
        missing = sorted(muted.keys() - self._makers.keys())
        if missing:
            raise InvalidError(
                "weight-not-used",
                f"the model multiplies nothing by {missing[0]!r}, so that its inputs cannot be left out",
                hint="choose a model of llama, qwen2 or qwen3",
            )
        self._columns = {
            self._makers[name]: np.asarray(columns, np.int64) for name, columns in muted.items() if len(columns)
        }

    def _observe(self, address: int, is_question: bool, _data: int | None) -> bool:
        """Nothing may be raised into the library."""
        try:
            tensor = layout.Tensor.from_address(address)
            if not is_question:
                self._overwrite(address, tensor)
                return True
            if self._is_learning:
                self._learn(tensor)
                return False
            return tensor.name in self._columns
        except BaseException as error:  # noqa: BLE001  (the boundary to C: it is raised when the library has returned)
            self.failure = error
            return False

    def _learn(self, tensor: layout.Tensor) -> None:
        if tensor.op in (self._library.multiplication, self._library.expert_multiplication):
            weight, column = (layout.Tensor.from_address(tensor.src[number]) for number in (0, 1))
            self._makers[layout.weight_name(weight.name)] = column.name

    def _overwrite(self, address: int, tensor: layout.Tensor) -> None:
        if tensor.type != _FLOAT_TYPE:
            raise InvalidError("weight-not-used", f"{tensor.name.decode()!r} is computed in another type than F32")
        functions = self._library.functions
        raw = np.empty(functions.ggml_nbytes(address), np.uint8)
        functions.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
        shape, strides = tuple(reversed(tensor.ne)), tuple(reversed(tensor.nb))
        values: NDArray[np.float32] = np.ndarray(shape, np.float32, buffer=raw.data, strides=strides)
        values[..., self._columns[tensor.name]] = 0.0
        functions.ggml_backend_tensor_set(address, raw.ctypes.data, 0, raw.nbytes)

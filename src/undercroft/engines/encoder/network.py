"""Runs the network. Imports only what its environment has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.folder import Encoder
from undercroft.engines.encoder.inputs import Tokens
from undercroft.engines.encoder.pooling import Floats, activated, normalized, pooled

_KNOWN_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_WARNINGS_FROM = 3  # errors; warnings are about what an export could have done better


class Network:
    """An encoder that is loaded.

    Args:
        file: ``model.onnx``.
        encoder: What it is.
        threads: That compute one batch; count.

    Raises:
        InvalidError: ``bad-encoder``: it cannot be loaded, or takes or gives something else.
    """

    def __init__(self, file: Path, encoder: Encoder, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _WARNINGS_FROM
        # Threads that wait for work by looking for it all the time take the processor from the door.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # On x86 without VNNI signed weights of 8 bits overflow, and are taken as unsigned ones, which are exact.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidError("bad-encoder", f"its network cannot be loaded: {str(error)[:300]}") from error
        self._encoder = encoder
        self._inputs = [one.name for one in self._session.get_inputs()]
        odd = sorted(set(self._inputs) - _KNOWN_INPUTS)
        if odd or "input_ids" not in self._inputs:
            raise InvalidError(
                "bad-encoder", f"its network expects {', '.join(odd or self._inputs)[:120]}, known are input_ids, …"
            )
        self._output = self._session.get_outputs()[0].name

    def run(self, inputs: Sequence[Tokens]) -> Floats:
        """Computes inputs as one batch, each filled up to the longest.

        Args:
            inputs: At least one, none of them empty.

        Returns:
            float32 of shape ``(inputs, width)``: vectors of a model that embeds, else scores by the number of a class.
        """
        shape = (len(inputs), max(len(one.ids) for one in inputs))
        fed = {name: np.zeros(shape, np.int64) for name in _KNOWN_INPUTS}
        for row, one in enumerate(inputs):
            length = len(one.ids)
            fed["input_ids"][row, :length] = one.ids
            fed["token_type_ids"][row, :length] = one.types
            fed["attention_mask"][row, :length] = 1
        (given,) = self._session.run([self._output], {name: fed[name] for name in self._inputs})
        given = np.asarray(given, np.float32)
        if self._encoder.task != "embed":
            return activated(given, self._encoder.activation)
        vectors = pooled(given, fed["attention_mask"], self._encoder.pooling) if given.ndim == 3 else given
        return normalized(vectors) if self._encoder.is_normalized else vectors

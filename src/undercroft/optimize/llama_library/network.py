"""One loaded model with the memory that it computes in: texts to tokens, tokens to logits."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError, UnavailableError, UndercroftError
from undercroft.engines.failures import explain, is_out_of_memory
from undercroft.optimize.llama_library import layout
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.log_softmax import Floats

_LOGITS_BYTES = 64 * 1024**2
_FEWEST_PIECE, _LARGEST_PIECE = 32, 512
_TEXT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides whether a model predicts the next token.

    Args:
        architecture: As llama.cpp names it.
        has_vocabulary: It comes with a tokenizer.
        has_encoder: It reads its input with an encoder first.
        is_diffusion: It fills in masked tokens.
        is_causal: A token sees those before it only.
        pooling: ``pooling_type`` of its file; None where there is none.
    """

    architecture: str
    has_vocabulary: bool
    has_encoder: bool
    is_diffusion: bool
    is_causal: bool
    pooling: str | None


def refusal(kind: Kind, *, may_embed: bool = False) -> str | None:
    """Why a model has no next token to predict, as the end of a sentence; None where it has. Pure.

    Args:
        kind: What the model is.
        may_embed: A model that makes embeddings will do, too.
    """
    if not kind.has_vocabulary:
        return "it has no tokenizer"
    if kind.has_encoder:
        return "it reads its input with an encoder first"
    if kind.is_diffusion:
        return "it fills in masked tokens in no order"
    if may_embed:
        return None
    if not kind.is_causal:
        return "each of its tokens sees those after it, too: it makes embeddings"
    if kind.pooling not in (None, "0"):
        return "it makes one embedding of a whole text"
    return None


class Network:
    """A model, loaded.

    Args:
        library: Who computes.
        path: GGUF file; the first piece of a split model.
        log: What the library said; the reason of a failure is looked up there.
        may_embed: A model that makes embeddings will do, too.

    Raises:
        InvalidError: The file cannot be loaded, or the model does not predict the next token.
        UnavailableError: Memory is short.
    """

    def __init__(self, library: LlamaLibrary, path: Path, log: Sequence[str], *, may_embed: bool = False) -> None:
        self._library, self._functions, self._log, self.path = library, library.functions, log, path
        self._context: int | None = None
        parameters = library.model_parameters()
        parameters.check_tensors = True
        self._model = self._functions.llama_model_load_from_file(str(path).encode(), parameters)
        if self._model is None:
            raise self._failure("model-not-loadable", f"llama.cpp cannot load {path}")
        self._vocabulary = self._functions.llama_model_get_vocab(self._model)
        kind = self._kind()
        self.is_causal = kind.is_causal
        reason = refusal(kind, may_embed=may_embed)
        if reason is not None:
            raise self._not_generative(reason)
        self.vocabulary_tokens: int = self._functions.llama_vocab_n_tokens(self._vocabulary)
        self.trained_tokens: int = self._functions.llama_model_n_ctx_train(self._model)
        has_beginning = bool(self._functions.llama_vocab_get_add_bos(self._vocabulary))
        beginning: int = self._functions.llama_vocab_bos(self._vocabulary)
        self.beginning: list[int] = [beginning] if has_beginning and beginning >= 0 else []
        self.piece_tokens = _LARGEST_PIECE

    def open(self, *, context_tokens: int, threads: int, observer: Any = None) -> None:
        """Allocates what it computes in; once a network.

        Args:
            context_tokens: Most tokens of one text that it sees together.
            threads: Processors that it uses.
            observer: `layout.EVALUATED`, called before and after each node of the graph; the caller keeps it alive.

        Raises:
            UnavailableError: Memory is short, or the library did not take the parameters as they were meant.
        """
        wanted = self._library.context_parameters()
        wanted.n_ctx, wanted.n_threads, wanted.n_threads_batch = context_tokens, threads, threads
        self.piece_tokens = piece_tokens(context_tokens, self.vocabulary_tokens) if self.is_causal else context_tokens
        wanted.n_batch = wanted.n_ubatch = self.piece_tokens
        wanted.embeddings = not self.is_causal
        if observer is not None:
            wanted.cb_eval = ctypes.cast(observer, ctypes.c_void_p)
        self._context = self._functions.llama_init_from_model(self._model, wanted)
        if self._context is None:
            raise self._failure("context-not-created", f"llama.cpp cannot make room to compute in for {self.path}")
        if self._functions.llama_get_causal_attn(self._context) != self.is_causal:
            raise self._not_generative("each of its tokens sees those after it, too: it makes embeddings")
        taken = (self._functions.llama_n_batch(self._context), self._functions.llama_n_threads(self._context))
        if taken != (self.piece_tokens, threads) or self._functions.llama_n_ctx(self._context) < context_tokens:
            raise UnavailableError(
                "llama-library-other",
                f"llama.cpp took other parameters than it was given: {taken} for {(self.piece_tokens, threads)}",
                hint="pip install 'xllamacpp==2026.10.11549'",
            )

    def adapt(self, adapter: str) -> None:
        """Lets a LoRA change the model, wholly; once, after `open`.

        Args:
            adapter: GGUF file.

        Raises:
            InvalidError: ``adapter-not-loadable``: it is none, or of another model.
        """
        loaded = self._functions.llama_adapter_lora_init(self._model, adapter.encode())
        adapters, scales = (ctypes.c_void_p * 1)(loaded), (ctypes.c_float * 1)(1.0)
        if not loaded or self._functions.llama_set_adapters_lora(self._context, adapters, 1, scales) != 0:
            raise InvalidError(
                "adapter-not-loadable",
                f"llama.cpp cannot load the adapter {adapter} for {self.path}: {' '.join(self._log)[-300:]}",
                hint="take the model that it was made for",
            )

    def tokens(self, text: str, *, has_marks: bool = False, has_ends: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text.
            has_marks: Names of special tokens in it (``<|im_start|>``) stand for these tokens.
            has_ends: With the marks of beginning and end that the model wants around a text.
        """
        raw = text.encode()
        room = len(raw) + 8
        while True:
            found = (ctypes.c_int32 * room)()
            count = self._functions.llama_tokenize(self._vocabulary, raw, len(raw), found, room, has_ends, has_marks)
            if count >= 0:
                return list(found[:count])
            room = -count

    def piece(self, token: int, *, has_marks: bool = True) -> bytes:
        """The bytes that a token stands for; those of a special token's name only with ``has_marks``."""
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        size = self._functions.llama_token_to_piece(self._vocabulary, token, buffer, _TEXT_BYTES, 0, has_marks)
        return buffer.raw[: max(0, size)]

    def ends(self, token: int) -> bool:
        """Whether a model ends its answer with this token."""
        return bool(self._functions.llama_vocab_is_eog(self._vocabulary, token))

    def logits(self, tokens: Sequence[int], *, first_row: int) -> Iterator[Floats]:
        """What the model expects after each token from ``first_row`` on.

        Args:
            tokens: One text from its beginning, not longer than the context; forgotten is what came before.
            first_row: First token of which it is wanted.

        Yields:
            Shape ``(rows, vocabulary)``, piece by piece; valid until the next one is asked for.

        Raises:
            UnavailableError: The library failed.
        """
        self._functions.llama_memory_clear(self._functions.llama_get_memory(self._context), True)
        for start in range(0, len(tokens), self.piece_tokens):
            piece = tokens[start : start + self.piece_tokens]
            rows = self.decode(piece, position=start, first_row=max(first_row, start))
            if len(rows):
                yield rows

    def decode(self, piece: Sequence[int], *, position: int, first_row: int) -> Floats:
        """Computes one piece after what was computed since the last beginning.

        Args:
            piece: Tokens; at most ``piece_tokens``.
            position: Of its first token in the text.
            first_row: First position of which logits are wanted.

        Returns:
            Shape ``(rows, vocabulary)``; valid until the next call.

        Raises:
            UnavailableError: The library failed.
        """
        positions = range(position, position + len(piece))
        rows = sum(place >= first_row for place in positions)
        self.compute(piece, position=position, wanted=[place >= first_row for place in positions])
        if rows == 0:
            return np.empty((0, self.vocabulary_tokens), np.float32)
        values = self._functions.llama_get_logits_ith(self._context, len(piece) - rows)
        if not values:
            raise self._failure("computation-failed", f"llama.cpp gave no logits of {self.path}")
        return np.ctypeslib.as_array(values, shape=(rows, self.vocabulary_tokens))

    def compute(self, piece: Sequence[int], *, position: int, wanted: Sequence[bool]) -> None:
        """Lets a piece pass through the model.

        Args:
            piece: Tokens; at most ``piece_tokens``.
            position: Of its first token in the text.
            wanted: For which of them the last layers are computed, too.

        Raises:
            UnavailableError: The library failed.
        """
        count = len(piece)
        ids = np.asarray(piece, np.int32)
        positions = np.arange(position, position + count, dtype=np.int32)
        flags = np.asarray(wanted, np.int8)
        sequence = (ctypes.c_int32 * 1)(0)
        sequences = (ctypes.POINTER(ctypes.c_int32) * count)(
            *[ctypes.cast(sequence, ctypes.POINTER(ctypes.c_int32))] * count
        )
        lengths = np.ones(count, np.int32)
        batch = layout.Batch(
            n_tokens=count,
            token=_pointer(ids),
            pos=_pointer(positions),
            n_seq_id=_pointer(lengths),
            seq_id=sequences,
            logits=flags.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        if self._functions.llama_decode(self._context, batch) != 0:
            raise self._failure("computation-failed", f"llama.cpp failed while it computed with {self.path}")

    def close(self) -> None:
        """Frees what the library holds of it."""
        if self._context is not None:
            self._functions.llama_free(self._context)
        self._functions.llama_model_free(self._model)

    def _kind(self) -> Kind:
        architecture = self._metadata("general.architecture") or ""
        return Kind(
            architecture=architecture,
            has_vocabulary=self._functions.llama_vocab_type(self._vocabulary) != 0,
            has_encoder=self._functions.llama_model_has_encoder(self._model),
            is_diffusion=self._functions.llama_model_is_diffusion(self._model),
            is_causal=self._metadata(f"{architecture}.attention.causal") != "false",
            pooling=self._metadata(f"{architecture}.pooling_type"),
        )

    def _metadata(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        size = self._functions.llama_model_meta_val_str(self._model, key.encode(), buffer, _TEXT_BYTES)
        return buffer.value.decode("utf-8", "replace") if size >= 0 else None

    def _not_generative(self, reason: str) -> InvalidError:
        return InvalidError(
            "not-generative",
            f"{self.path} does not predict the next token: {reason}; what is measured here makes no sense for it",
            hint="measure an embedding model by its embeddings",
        )

    def _failure(self, code: str, what: str) -> UndercroftError:
        said = "\n".join(self._log)
        reason = explain(said, None) or "it gave no reason"
        if is_out_of_memory(reason):
            return UnavailableError("out-of-memory", f"{what}: {reason}", hint="use a smaller window, or free memory")
        kind: Callable[..., UndercroftError] = InvalidError if code == "model-not-loadable" else UnavailableError
        return kind(code, f"{what}: {reason}")


def piece_tokens(window_tokens: int, vocabulary_tokens: int) -> int:
    """Tokens that are computed at once: as many as have 64 MiB of logits, at least 32, at most 512. Pure.

    Args:
        window_tokens: What is computed in pieces; those are of about equal length.
        vocabulary_tokens: Logits of a token; count.
    """
    largest = max(_FEWEST_PIECE, min(_LARGEST_PIECE, _LOGITS_BYTES // (4 * max(1, vocabulary_tokens))))
    return math.ceil(window_tokens / math.ceil(window_tokens / largest))


def _pointer(array: NDArray[np.int32]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))

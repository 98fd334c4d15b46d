"""llama.cpp's C functions, out of the wheel that also serves: found, typed, and refused where the layout is another.

Only the worker loads it (`undercroft.optimize.llama_library.worker`): what goes wrong inside ends that process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from undercroft.core.errors import UnavailableError
from undercroft.optimize.llama_library import layout

_WHEEL = "xllamacpp"
_FLOAT_TYPE, _INTEGER_TYPE = 0, 26  # GGML_TYPE_F32, GGML_TYPE_I32
_TRIAL_BYTES = 64 * 1024
_HINT = "install the release of llama.cpp's wheel that was tried: pip install 'xllamacpp==2026.10.11549'"

_POINTER, _TEXT, _SIZE, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool
_INT, _TOKENS, _LONG = ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int64
_FLOATS = ctypes.POINTER(ctypes.c_float)

# name → what it returns, what it takes
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (layout.LOGGED, _POINTER)),
    "llama_model_default_params": (layout.ModelParameters, ()),
    "llama_context_default_params": (layout.ContextParameters, ()),
    "llama_model_load_from_file": (_POINTER, (_TEXT, layout.ModelParameters)),
    "llama_model_free": (None, (_POINTER,)),
    "llama_init_from_model": (_POINTER, (_POINTER, layout.ContextParameters)),
    "llama_free": (None, (_POINTER,)),
    "llama_adapter_lora_init": (_POINTER, (_POINTER, _TEXT)),
    "llama_set_adapters_lora": (_INT, (_POINTER, ctypes.POINTER(_POINTER), _SIZE, _FLOATS)),
    "llama_n_ctx": (ctypes.c_uint32, (_POINTER,)),
    "llama_n_batch": (ctypes.c_uint32, (_POINTER,)),
    "llama_n_ubatch": (ctypes.c_uint32, (_POINTER,)),
    "llama_n_threads": (_INT, (_POINTER,)),
    "llama_get_causal_attn": (_BOOL, (_POINTER,)),
    "llama_model_get_vocab": (_POINTER, (_POINTER,)),
    "llama_model_n_ctx_train": (_INT, (_POINTER,)),
    "llama_model_has_encoder": (_BOOL, (_POINTER,)),
    "llama_model_is_diffusion": (_BOOL, (_POINTER,)),
    "llama_model_meta_val_str": (_INT, (_POINTER, _TEXT, _TEXT, _SIZE)),
    "llama_vocab_n_tokens": (_INT, (_POINTER,)),
    "llama_vocab_type": (ctypes.c_int, (_POINTER,)),
    "llama_vocab_bos": (_INT, (_POINTER,)),
    "llama_vocab_get_add_bos": (_BOOL, (_POINTER,)),
    "llama_vocab_is_eog": (_BOOL, (_POINTER, _INT)),
    "llama_tokenize": (_INT, (_POINTER, _TEXT, _INT, _TOKENS, _INT, _BOOL, _BOOL)),
    "llama_detokenize": (_INT, (_POINTER, _TOKENS, _INT, _TEXT, _INT, _BOOL, _BOOL)),
    "llama_token_to_piece": (_INT, (_POINTER, _INT, _TEXT, _INT, _INT, _BOOL)),
    "llama_get_memory": (_POINTER, (_POINTER,)),
    "llama_memory_clear": (None, (_POINTER, _BOOL)),
    "llama_decode": (_INT, (_POINTER, layout.Batch)),
    "llama_get_logits_ith": (_FLOATS, (_POINTER, _INT)),
    "ggml_tensor_overhead": (_SIZE, ()),
    "ggml_init": (_POINTER, (layout.GraphParameters,)),
    "ggml_free": (None, (_POINTER,)),
    "ggml_new_tensor_3d": (_POINTER, (_POINTER, ctypes.c_int, _LONG, _LONG, _LONG)),
    "ggml_set_name": (_POINTER, (_POINTER, _TEXT)),
    "ggml_mul_mat": (_POINTER, (_POINTER, _POINTER, _POINTER)),
    "ggml_mul_mat_id": (_POINTER, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "ggml_op_name": (_TEXT, (ctypes.c_int,)),
    "ggml_nbytes": (_SIZE, (_POINTER,)),
    "ggml_backend_tensor_get": (None, (_POINTER, _POINTER, _SIZE, _SIZE)),
    "ggml_backend_tensor_set": (None, (_POINTER, _POINTER, _SIZE, _SIZE)),
}


class LlamaLibrary:
    """The library, loaded and checked. Its functions are attributes of ``functions``, by their names in C.

    Args:
        path: The shared object; the wheel's own where it is not given.
        log: Told each line that the library logs, with its level (3 warning, 4 error).

    Raises:
        UnavailableError: There is no such library here, or its structures are not ours.
    """

    def __init__(self, path: Path | None = None, *, log: Callable[[int, str], None]) -> None:
        file = shared_object() if path is None else path
        try:
            self.functions = ctypes.CDLL(str(file))
        except OSError as error:
            raise UnavailableError(
                "llama-library-missing", f"llama.cpp's library {file} cannot be loaded: {error}", hint=_HINT
            ) from error
        self.multiplication = self.expert_multiplication = -1
        self._declare(file)
        self._check_layout(file)
        # Kept for as long as the library may call it.
        self._logged = layout.LOGGED(lambda level, text, _data: log(level, (text or b"").decode("utf-8", "replace")))
        self.functions.llama_log_set(self._logged, None)
        self.functions.llama_backend_init()

    def model_parameters(self) -> layout.ModelParameters:
        """The library's defaults, ready to be changed and passed."""
        parameters: layout.ModelParameters = self.functions.llama_model_default_params()
        parameters.spare = type(parameters.spare)()
        return parameters

    def context_parameters(self) -> layout.ContextParameters:
        """The library's defaults, ready to be changed and passed."""
        parameters: layout.ContextParameters = self.functions.llama_context_default_params()
        parameters.spare = type(parameters.spare)()
        return parameters

    def _declare(self, file: Path) -> None:
        missing = [name for name in _FUNCTIONS if not hasattr(self.functions, name)]
        if missing:
            raise UnavailableError(
                "llama-library-other", f"llama.cpp's library {file} has no {', '.join(missing)}", hint=_HINT
            )
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self.functions, name)
            function.restype, function.argtypes = result, arguments

    def _check_layout(self, file: Path) -> None:
        found = [
            *layout.differences(self.functions.llama_model_default_params(), layout.MODEL_DEFAULTS),
            *layout.differences(self.functions.llama_context_default_params(), layout.CONTEXT_DEFAULTS),
            *self._tensor_differences(),
        ]
        if found:
            raise UnavailableError(
                "llama-library-other",
                f"llama.cpp's library {file} has other structures than those known here: {'; '.join(found[:4])}",
                hint=_HINT,
            )

    def _tensor_differences(self) -> list[str]:
        """Makes small tensors and their products, looks whether they read as what they are, and learns two numbers."""
        size = self.functions.ggml_tensor_overhead() - layout.OBJECT_HEADER_BYTES
        if size != ctypes.sizeof(layout.Tensor):
            return [f"a tensor takes {size} bytes, not {ctypes.sizeof(layout.Tensor)}"]
        functions = self.functions
        graph = functions.ggml_init(layout.GraphParameters(_TRIAL_BYTES, None, True))
        try:
            weight = functions.ggml_new_tensor_3d(graph, _FLOAT_TYPE, 32, 3, 1)
            column = functions.ggml_new_tensor_3d(graph, _FLOAT_TYPE, 32, 5, 1)
            functions.ggml_set_name(weight, b"trial.weight")
            product = layout.Tensor.from_address(functions.ggml_mul_mat(graph, weight, column))
            experts = functions.ggml_new_tensor_3d(graph, _FLOAT_TYPE, 32, 3, 2)
            columns = functions.ggml_new_tensor_3d(graph, _FLOAT_TYPE, 32, 1, 5)
            chosen = functions.ggml_new_tensor_3d(graph, _INTEGER_TYPE, 1, 5, 1)
            mixed = layout.Tensor.from_address(functions.ggml_mul_mat_id(graph, experts, columns, chosen))
            read = layout.Tensor.from_address(weight)
            seen = (read.name, list(read.ne), list(read.nb), list(product.ne), product.src[0], mixed.src[2])
            names = (functions.ggml_op_name(product.op), functions.ggml_op_name(mixed.op))
            self.multiplication, self.expert_multiplication = product.op, mixed.op
        finally:
            functions.ggml_free(graph)
        expected = (b"trial.weight", [32, 3, 1, 1], [4, 128, 384, 384], [3, 5, 1, 1], weight, chosen)
        if seen != expected or names != (b"MUL_MAT", b"MUL_MAT_ID"):
            return ["the fields of a tensor lie elsewhere"]
        return []


def shared_object() -> Path:
    """Where the wheel's shared object lies; the wheel itself is not imported.

    Raises:
        UnavailableError: The wheel is not installed.
    """
    wheel = find_spec(_WHEEL)
    folders = [Path(folder) for folder in (wheel.submodule_search_locations if wheel is not None else None) or []]
    files = [file for folder in folders for file in sorted(folder.glob(f"{_WHEEL}*.so"))]
    if not files:
        raise UnavailableError("llama-library-missing", f"the package {_WHEEL} is not installed", hint=_HINT)
    return files[0]

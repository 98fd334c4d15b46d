"""Every name that ``quantize --to`` knows: schemes for GGUF, for published models, and for ONNX. Pure."""

from __future__ import annotations

import difflib

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.schemes import COMPRESSED, FORM, CompressedScheme, compressed_scheme
from undercroft.optimize.onnx.schemes import FORM as ONNX
from undercroft.optimize.onnx.schemes import ONNX_SCHEMES, OnnxScheme, onnx_scheme
from undercroft.optimize.quantization.schemes import SCHEMES, Scheme, scheme_named

_INT4_HINT = "of a model that generates: undercroft optimize convert MODEL --to onnx --type int4; of an encoder INT8"
AnyScheme = Scheme | CompressedScheme | OnnxScheme


def find_scheme(name: str) -> AnyScheme:
    """A scheme of any form, in any case.

    Raises:
        InvalidError: ``unknown-scheme``, with the nearest names of all lists.
    """
    found = compressed_scheme(name) or onnx_scheme(name)
    if found is not None:
        return found
    try:
        return scheme_named(name)
    except InvalidError:
        near = nearest(name) or ["Q4_K_M", "gptq-w4a16"]
        raise InvalidError(
            "unknown-scheme",
            f"{name[:60]!r} is no quantization scheme, expected {known()}",
            hint=_INT4_HINT if name.strip().upper() == "INT4" else f"write {' or '.join(near)}",
        ) from None


def known() -> str:
    """All names, by the form that they are for."""
    return (
        f"for a GGUF one of {', '.join(SCHEMES)}; for {FORM} one of {', '.join(COMPRESSED)}; for {ONNX} "
        f"{', '.join(ONNX_SCHEMES)}"
    )


def nearest(name: str) -> list[str]:
    """Up to three names like one that is none, the nearest first."""
    wanted = name.strip().upper().replace("-", "_")
    names = {one.upper().replace("-", "_"): one for one in (*SCHEMES, *COMPRESSED, *ONNX_SCHEMES)}
    inside = [shown for key, shown in names.items() if len(wanted) > 3 and wanted in key and shown in COMPRESSED]
    near = [names[key] for key in difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)]
    return list(dict.fromkeys([*inside, *near]))[:3]


def check_form(scheme: AnyScheme, model: str, form: str) -> None:
    """Makes sure that a scheme is for models of a form.

    Args:
        scheme: Which was asked for.
        model: Name of the model.
        form: ``gguf``, ``safetensors`` or ``onnx``.

    Raises:
        InvalidError: ``wrong-form``, with what to do instead.
    """
    wanted = "gguf" if isinstance(scheme, Scheme) else FORM if isinstance(scheme, CompressedScheme) else ONNX
    if form == wanted:
        return
    told = f"model {model!r} is {form}, {scheme.name} is for {'GGUF' if wanted == 'gguf' else wanted}"
    if form == ONNX:
        hint = f"for {ONNX}: --to {', '.join(ONNX_SCHEMES)}; for others take the model as it was published"
    elif wanted == ONNX:
        hint = f"of an encoder: undercroft optimize convert {model} --to onnx, then this of the result; for vLLM: w8a8"
    elif form == "gguf":
        hint = f"for llama.cpp: --to Q4_K_M; for vLLM take the model as it was published: {FORM}"
    elif form == FORM:
        hint = (
            f"for llama.cpp: undercroft optimize convert {model}, then quantize what it makes; for vLLM: --to "
            f"{', '.join(COMPRESSED)}"
        )
    else:
        hint = "pull the original: undercroft model pull hf://ORG/NAME"
    raise InvalidError("wrong-form", told, hint=hint)

"""Which tokens of a text are looked at together, and which of them are judged. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from undercroft.core.errors import InvalidError

DEFAULT_WINDOW_TOKENS = 512
_FEWEST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a text, in tokens of the text; a mark of beginning that the model wants stands before it.

    Args:
        start: First token of it.
        end: The token after its last.
        first_judged: Those before are context only.
    """

    start: int
    end: int
    first_judged: int


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How a text becomes windows.

    Args:
        window_tokens: Most tokens that are looked at together, a mark of beginning included; at least 8.
        is_as_llama_perplexity: True gives the windows of llama.cpp's own tool, for figures that can be compared with
            its own: they do not overlap, the first half of each is context only and never judged, and what is left at
            the end of a text is not looked at. False judges every token once: each window begins half a window after
            the one before and judges its second half; the first judges all that it has.

    Raises:
        InvalidError: The window is too short.
    """

    window_tokens: int = DEFAULT_WINDOW_TOKENS
    is_as_llama_perplexity: bool = False

    def __post_init__(self) -> None:
        if self.window_tokens < _FEWEST_TOKENS:
            raise InvalidError(
                "window-too-short",
                f"a window has at least {_FEWEST_TOKENS} tokens, not {self.window_tokens}",
                hint=f"leave it at {DEFAULT_WINDOW_TOKENS}",
            )


def windows(text_tokens: int, rule: WindowRule, *, has_beginning: bool, first_judged: int = 0) -> list[Window]:
    """The windows of a text.

    Args:
        text_tokens: Tokens of the text, without the mark of its beginning; count.
        rule: How.
        has_beginning: The model wants a mark of beginning before each window: then a text's first token can be judged,
            too, and a window holds one token of the text less.
        first_judged: Tokens of the text before this one are context only; windows without another are left out.

    Returns:
        Windows in the text's order; none where nothing of the text can be judged.

    Source:
        llama.cpp, ``tools/perplexity/perplexity.cpp``: windows of ``n_ctx`` tokens of which the tokens after
        ``n_ctx/2`` count, and whose first token is replaced by the mark of beginning.
    """
    cut = _as_llama_perplexity if rule.is_as_llama_perplexity else _once_each
    return [
        replace(window, first_judged=max(window.first_judged, first_judged))
        for window in cut(text_tokens, rule.window_tokens, has_beginning)
        if window.end > first_judged
    ]


def _once_each(text_tokens: int, window_tokens: int, has_beginning: bool) -> list[Window]:
    held = window_tokens - (1 if has_beginning else 0)
    stride = window_tokens // 2
    first = Window(0, min(held, text_tokens), 0 if has_beginning else 1)
    found = [first] if first.end > first.first_judged else []
    judged = first.end
    while judged < text_tokens:
        end = min(judged + stride, text_tokens)
        found.append(Window(end - held, end, judged))
        judged = end
    return found


def _as_llama_perplexity(text_tokens: int, window_tokens: int, has_beginning: bool) -> list[Window]:
    """Its windows count the mark of the text's beginning as a token; ours do not."""
    shift = 1 if has_beginning else 0
    count = (text_tokens + shift) // window_tokens
    return [
        Window(
            start=number * window_tokens,
            end=(number + 1) * window_tokens - shift,
            first_judged=number * window_tokens + window_tokens // 2 + 1 - shift,
        )
        for number in range(count)
    ]

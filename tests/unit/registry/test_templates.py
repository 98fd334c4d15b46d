"""Chat templates: tried in a sandbox that they can neither leave nor exhaust."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import CHAT_TEMPLATE, TOOLS_TEMPLATE, write_chat_model
from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.repository import inspect_files
from undercroft.registry.inspection.templates import check_template

FINE = {
    "plain": CHAT_TEMPLATE,
    "tools": TOOLS_TEMPLATE,
    "insists on roles": "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}x",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation": "{% generation %}{{ messages[-1].content }}{% endgeneration %}",
    "date": "{{ strftime_now('%d %b %Y') }}{{ bos_token }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "json with indent": "{{ messages | tojson(indent=4) }}",
}

HOSTILE = {
    "classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "sandbox forbids"),
    "globals of a function": ("{{ raise_exception.__globals__ }}", "sandbox forbids"),
    "import": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "sandbox forbids"),
    "changes a list": ("{{ messages.append(1) }}", "sandbox forbids"),
    "item of a class": ("{{ messages['__class__'] }}", "sandbox forbids"),
    "attribute by filter": ("{{ (messages | attr('__class__')).__mro__ }}", "sandbox forbids"),
    "where no conversation gets": ("{% if false %}{{ x.__class__ }}{% endif %}", "sandbox forbids"),
    "loops for ever": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}"
        "{% endfor %}{% endfor %}",
        "processor time or memory",
    ),
    "large range": ("{% for a in range(10 ** 9) %}{{ a }}{% endfor %}", "OverflowError"),
    "large text": ("{{ 'a' * (10 ** 10) }}", "MemoryError"),
    "text that doubles": (
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "MemoryError",
    ),
    "much output": ("{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "became more than"),
    "padded text": ("{{ '%9999999999d' | format(1) }}", "Error"),
    "syntax": ("{% for %}", "does not compile"),
    "deep": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
    "other file": ("{% include '/etc/passwd' %}", "asks for another file"),
}


@pytest.mark.parametrize("case", FINE, ids=str)
def test_usual_templates_pass(case: str) -> None:
    """What the well-known models use works, and a template that refuses our conversation by itself is no problem."""
    check_template(FINE[case], name="m.gguf")


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_templates_are_refused(case: str) -> None:
    """A template that reaches out, does not end or fills the memory is refused with a sentence."""
    text, words = HOSTILE[case]
    with pytest.raises(InvalidError) as caught:
        check_template(text, name="m.gguf")
    assert caught.value.code == "bad-template"
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_template_inside_a_model_is_tried(tmp_path: Path) -> None:
    """A model with a hostile template is refused as a whole."""
    path = write_chat_model(tmp_path / "m.gguf", chat_template=HOSTILE["classes"][0])
    with pytest.raises(InvalidError, match="sandbox forbids"):
        inspect_files({"m.gguf": path})

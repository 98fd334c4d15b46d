"""Which licence a text is. Nothing is guessed: a text that is not known by its own words stays unknown."""

from __future__ import annotations

import re

# In this order: a text that quotes another (a Gemma notice beside Apache-2.0) is known by what is its own.
_KNOWN: tuple[tuple[str, str], ...] = (
    ("llama 3.3 community license", "llama3.3"),
    ("llama 3.2 community license", "llama3.2"),
    ("llama 3.1 community license", "llama3.1"),
    ("meta llama 3 community license", "llama3"),
    ("llama 4 community license", "llama4"),
    ("llama 2 community license", "llama2"),
    ("gemma terms of use", "gemma"),
    ("qwen research license", "qwen-research"),
    ("tongyi qianwen license", "qwen"),
    ("mistral ai research license", "mrl"),
    ("mistral ai non-production license", "mnpl"),
    ("deepseek license agreement", "deepseek"),
    ("creative ml openrail-m", "creativeml-openrail-m"),
    ("bigscience openrail-m", "bigscience-openrail-m"),
    ("apache license version 2.0", "apache-2.0"),
    ("gnu affero general public license version 3", "agpl-3.0"),
    ("gnu lesser general public license version 3", "lgpl-3.0"),
    ("gnu general public license version 3", "gpl-3.0"),
    ("gnu general public license version 2", "gpl-2.0"),
    ("mozilla public license version 2.0", "mpl-2.0"),
    ("attribution-noncommercial-sharealike 4.0 international", "cc-by-nc-sa-4.0"),
    ("attribution-noncommercial-noderivatives 4.0 international", "cc-by-nc-nd-4.0"),
    ("attribution-noncommercial 4.0 international", "cc-by-nc-4.0"),
    ("attribution-sharealike 4.0 international", "cc-by-sa-4.0"),
    ("attribution 4.0 international", "cc-by-4.0"),
    ("cc0 1.0 universal", "cc0-1.0"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "mit"),
    ("neither the name of the copyright holder nor the names of its contributors", "bsd-3-clause"),
    ("this is free and unencumbered software released into the public domain", "unlicense"),
)
_LOOKED_AT_CHARACTERS = 20_000


def licence_of_text(text: str) -> str | None:
    """The identifier of a licence's full text, in lower case; None where it is not one of the well-known."""
    flat = re.sub(r"[\s,*#_]+", " ", text[:_LOOKED_AT_CHARACTERS]).lower()
    for phrase, identifier in _KNOWN:
        if re.sub(r"[\s,]+", " ", phrase) in flat:
            return identifier
    return None

"""YAML as plain data, with the line of each of its values. Bounded: what could grow while it is read is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

_DEPTH_LIMIT = 40
# libyaml's parser is ten times as fast; it is left out of some builds of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Places:
    """Which line each value of a document stands in.

    Args:
        root: The document as nodes; None for an empty one.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def line_of(self, location: Sequence[int | str]) -> int:
        """The line, from 1, of a value, or of the nearest around it that is there.

        Args:
            location: Keys and positions from the outside in; one that does not fit is passed over.
        """
        node = self._root
        line = 1 if node is None else node.start_mark.line + 1
        for step in location:
            found = _child(node, step)
            if found is not None:
                mark, node = found
                line = mark.line + 1
        return line


def read_with_places(raw: bytes) -> tuple[Any, Places]:
    """A document and where its values stand.

    Args:
        raw: YAML in UTF-8.

    Raises:
        ValueError: It is not YAML, nests deeper than 40, has an alias or several documents, or a key stands twice in
            one mapping; the sentence says where.
    """
    try:
        _refuse_growth(raw)
        root = yaml.compose(raw, Loader=_LOADER)
        _refuse_twice(root)
        return yaml.load(raw, Loader=_LOADER), Places(root)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())[:300]}") from error


def _refuse_growth(raw: bytes) -> None:
    depth = 0
    event: Any
    for event in yaml.parse(raw, Loader=_LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {line}: aliases such as *name cannot be used here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_LIMIT:
            raise ValueError(f"line {line}: it is nested deeper than {_DEPTH_LIMIT}")


def _refuse_twice(node: Any) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(item)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ValueError(f"line {key.start_mark.line + 1}: {key.value[:60]} stands twice")
                seen.add(key.value)
            _refuse_twice(value)


def _child(node: Any, step: int | str) -> tuple[Any, Any] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark, value
    return None

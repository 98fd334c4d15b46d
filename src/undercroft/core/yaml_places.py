"""YAML as plain data, with the line of each of its values. Bounded: what could grow while it is read is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

_DEPTH_LIMIT = 40
# libyaml's parser is ten times as fast; it is left out of some builds of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What PyYAML raises for a text that is none of the kind that it is written as: `!!int ""`, `2026-13-45`.
_ODD = (ValueError, LookupError, AttributeError, TypeError)


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
    found = read_all_with_places(raw)
    if len(found) > 1:
        raise ValueError(f"line {found[1][1].line_of(())}: expected one document, here begins another")
    return found[0] if found else (None, Places(None))


def read_all_with_places(raw: bytes) -> list[tuple[Any, Places]]:
    """Every document of a file, in order, and where its values stand.

    Args:
        raw: YAML in UTF-8, documents parted by ``---``.

    Raises:
        ValueError: As in `read_with_places`.
    """
    try:
        _refuse_growth(raw)
        loader = _LOADER(raw)
        found = []
        while loader.check_node():
            root = loader.get_node()
            _refuse_twice(root)
            found.append((_plain(loader, root), Places(root)))
        return found
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(_not_yaml(raw, error)) from error


def _not_yaml(raw: bytes, error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        while_doing = f", {error.context}" if error.context else ""
        return f"line {error.problem_mark.line + 1}: it is not YAML: {error.problem}{while_doing}"[:300]
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        return f"line {line}: it is not YAML in UTF-8: byte {wrong.start:,} is {raw[wrong.start]:#04x}"
    return f"it is not YAML: {' '.join(str(error).split())[:300]}"


def _plain(loader: Any, root: Any) -> Any:
    try:
        return loader.construct_document(root)
    except _ODD as error:
        raise ValueError(_odd_value(loader, root) or f"it is not YAML: {error}") from error


def _odd_value(loader: Any, node: Any) -> str | None:
    """A sentence on the first value that is none of the kind that it is written as."""
    if isinstance(node, yaml.ScalarNode):
        try:
            loader.yaml_constructors[node.tag](loader, node)
        except _ODD:
            kind = node.tag.rpartition(":")[2]
            return f"line {node.start_mark.line + 1}: {node.value[:60]!r} is written as {kind} and is none"
        return None
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return next((found for part in parts if (found := _odd_value(loader, part))), None)


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

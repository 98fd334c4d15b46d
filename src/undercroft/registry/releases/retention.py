"""Which releases stay. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def keep(
    numbers: Collection[int],
    *,
    tags: Mapping[str, int],
    promoted: Collection[int],
    groups: Mapping[int, str],
    newest: int,
) -> dict[int, str]:
    """The releases of a name that stay, each with the reason.

    Args:
        numbers: Of all releases that there are.
        tags: Tag → number.
        promoted: What a promotion that runs comes from and goes to.
        groups: Number → name of the deployment that runs it: ``NAME@3`` after the first release that it can run. That
            one stays as long as any of them, for replicas are called after it.
        newest: How many of the newest stay.
    """
    kept: dict[int, str] = {}
    for tag, number in sorted(tags.items()):
        kept.setdefault(number, f"the tag {tag} points at it")
    for number in promoted:
        kept.setdefault(number, "a promotion that runs needs it")
    for number in sorted(numbers, reverse=True)[:newest]:
        kept.setdefault(number, "one of the newest")
    for number in sorted(kept):
        founder = int(groups[number].rpartition("@")[2])
        kept.setdefault(founder, f"the engine of @{number} is called after it")
    return {number: kept[number] for number in sorted(kept)}

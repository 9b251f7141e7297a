"""Bars of what takes a while before training: reading, rendering, downloading."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm import tqdm


def progress_bar(items: Iterable | None, progress: bool, **settings) -> tqdm:
    """A bar that goes when it is done, drawn on terminals alone: in a file it would hide the lines that matter.

    Args:
        items: to iterate over, or None for a bar that is moved by hand.
        progress: False draws nothing at all.
        settings: of tqdm.
    """
    return tqdm(items, disable=None if progress else True, leave=False, **settings)

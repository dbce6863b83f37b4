"""Rows that were checked against one version's signature, as another version takes them."""

from __future__ import annotations

from functools import lru_cache

from tasks.core.serving.batch import Batch
from tasks.core.serving.signature import Signature

_Places = tuple[tuple[int, ...] | None, tuple[int, ...]]


def recut(batch: Batch, signature: Signature) -> Batch:
    """Return the rows with another signature's columns, in its order; the same rows where nothing differs.

    Parameters
    ----------
    batch : Batch
        Its signature has all columns of the other one, each a number there if it is one here.
    signature : Signature
        What the other version takes.
    """
    if batch.signature is signature or batch.signature.columns == signature.columns:
        return batch
    numbers, texts = _places(batch.signature, signature)
    return Batch(
        signature=signature,
        n=batch.n,
        numbers=batch.numbers if numbers is None else batch.numbers.take(numbers, axis=1),
        texts=tuple(batch.texts[place] for place in texts),
    )


@lru_cache(maxsize=64)
def _places(have: Signature, want: Signature) -> _Places:
    """Return where each column stands; None for numbers that stand in order already."""
    numbers = [column.name for column in have.numbers]
    texts = [column.name for column in have.texts]
    wanted = tuple(numbers.index(column.name) for column in want.numbers)
    in_order = wanted == tuple(range(len(numbers)))
    return None if in_order else wanted, tuple(texts.index(column.name) for column in want.texts)

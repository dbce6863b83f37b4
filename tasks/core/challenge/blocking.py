"""The blocks of a model's rows, as its configuration says."""

from __future__ import annotations

import numpy as np

from tasks.core.challenge.blocks import make_blocks
from tasks.core.challenge.match import depends, unit_keys
from tasks.core.config import ModelConfig
from tasks.core.data.clock import span_length
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.metrics.scored import IntArray


def block_rows(rows: Rows, *, schema: Schema, config: ModelConfig) -> IntArray | None:
    """Number the block of each row; None where rows are independent.

    Parameters
    ----------
    rows : Rows
        The n rows of a comparison, in clock order where there is a clock.
    schema : Schema
        Names of entity and group.
    config : ModelConfig
        ``evaluation.dependence``, ``evaluation.block`` and ``evaluation.min_blocks``.

    Raises
    ------
    NotLearnable
        ``too_few_blocks``, with the number needed.
    """
    if not depends(config, timed=rows.positions is not None):
        return None
    entity, group = unit_keys(rows, schema.with_roles_of(config))
    length, clock = config.evaluation.block, config.data.clock
    return make_blocks(
        rows.positions,
        unit="rows" if clock == "rows" else "seconds",
        length=None if length is None else span_length(length, clock=clock),
        entity=group if entity is None else entity,
        group=None if group is None else np.asarray(group),
        min_blocks=config.evaluation.min_blocks,
    )

"""Entities as small integers, alike in the rows of a group and in the rows that ask.

What belongs here: that coding, exact for keys of any type. What does not: what is done with the codes
(`newest_match.py`).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from ml_assets.domain.errors import PointInTimeError
from ml_assets.domain.newest_match import Integers


def entity_codes(rows: pl.DataFrame, asking: pl.DataFrame, entity: Sequence[str]) -> tuple[Integers, Integers]:
    """The code of every row's entity, from 0, and of every asking row's, -1 where a part of its key is in no row.

    Equal codes are equal entities. A null in a key is no entity: such rows share a code that no asking row has.
    Raises PointInTimeError for a key that is of one type in the group and of another in the rows that ask.
    """
    for key in entity:
        if rows.schema[key] != asking.schema[key]:
            raise PointInTimeError(
                f"the entity's column {key!r} is {rows.schema[key]} in the group and {asking.schema[key]} in the rows "
                "that ask, wanted one type; cast one of them where it is made."
            )
    # Stored rows lie sorted by entity within a day: a stretch of one entity is looked up once.
    begins = _begins_run(rows, entity)
    heads = rows.select(entity).filter(begins)
    known, asked = _coded(heads[entity[0]], asking[entity[0]])
    for key in entity[1:]:
        further, asked_further = _coded(heads[key], asking[key])
        width = _number(further)
        known, asked = known * width + further, asked * width + asked_further
        if _number(known) > heads.height:
            known, asked = _coded(known, asked)
    nobody = max(_number(known), _number(asked))
    lengths = np.diff(np.append(begins.arg_true().to_numpy().astype(np.int64), rows.height))
    return np.repeat(known.fill_null(nobody).to_numpy(), lengths), asked.fill_null(-1).to_numpy()


def _begins_run(rows: pl.DataFrame, entity: Sequence[str]) -> pl.Series:
    """Whether a row's entity is another than that of the row before it; the first row's is."""
    changes = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in entity)
    return rows.select(changes | (pl.int_range(pl.len()) == 0)).to_series()


def _coded(heads: pl.Series, asking: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The place of each value among the distinct ones of `heads`; null for null and for one that is not there."""
    if heads.dtype == pl.String:
        # One dictionary for both, numbered as values come: what only asks is numbered after all that are there. It
        # lives as long as a series of it does, so both are made before either is numbered.
        shared = pl.Categorical(pl.Categories.random())
        both = heads.cast(shared), asking.cast(shared)
        first, second = (keys.to_physical().cast(pl.Int64) for keys in both)
        return first, second.set(second >= _number(first), None)
    numbered = heads.drop_nulls().unique().alias("key").to_frame().with_row_index("place")
    first, second = (
        keys.alias("key").to_frame().join(numbered, on="key", how="left", maintain_order="left")["place"]
        for keys in (heads, asking)
    )
    return first.cast(pl.Int64), second.cast(pl.Int64)


def _number(codes: pl.Series) -> int:
    """One more than the greatest code."""
    greatest = codes.max()
    return greatest + 1 if isinstance(greatest, int) else 0

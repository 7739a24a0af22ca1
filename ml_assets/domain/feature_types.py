"""Which types a model's features may have, and what to do about the others.

What belongs here: the rule, for numbers and for categories, and the remedy of each type it refuses.
What does not: which types the lake stores (`stored_types.py`), names (`ml_assets/catalog`).
"""

from collections.abc import Mapping

import polars as pl

from ml_assets.domain.specs import ModelSpec

NUMBERS = frozenset(
    {
        pl.Boolean,
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.UInt8,
        pl.UInt16,
        pl.UInt32,
        pl.Float32,
        pl.Float64,
        pl.Decimal,
    }
)
CATEGORIES = frozenset({pl.String, pl.Categorical, pl.Enum} | (NUMBERS - {pl.Float32, pl.Float64, pl.Decimal}))
# What scikit-learn's gradient boosting takes of one column, an absent value being a category.
MOST_CATEGORIES = 255

_NOT_A_NUMBER: Mapping[type[pl.DataType], str] = {
    pl.String: "name it in `categorical`, or leave it out",
    pl.Categorical: "name it in `categorical`, or leave it out",
    pl.Enum: "name it in `categorical`, or leave it out",
    pl.Date: "give a number, such as its days before the event: (event - date).dt.total_days()",
    pl.Datetime: "give a number, such as its hours before the event: (event - instant).dt.total_hours()",
}
_NOT_A_CATEGORY: Mapping[type[pl.DataType], str] = {
    pl.Float32: "leave it a number, or round it and cast it to Int64",
    pl.Float64: "leave it a number, or round it and cast it to Int64",
    pl.Decimal: "leave it a number, or cast it to Int64",
    pl.Date: "give a part of it, such as .dt.weekday()",
    pl.Datetime: "give a part of it, such as .dt.hour()",
}
_NEITHER = "give a number or a category made of it, or leave it out"


def unfit_features(model: ModelSpec, types: Mapping[str, pl.DataType]) -> list[str]:
    """What stands against features of the given types, by `group.column`: one sentence each, with the remedy.

    A number is a boolean, an integer, a float or a decimal. A category is a text, a boolean or an integer, and is named
    in `categorical`. Of the others scikit-learn takes some and drift reports refuse them, so that a model would be
    trained and then fail every day.
    """
    found = []
    for feature, dtype in types.items():
        kind = dtype.base_type()
        as_category = feature in model.categorical
        allowed, remedies, wanted = (
            (CATEGORIES, _NOT_A_CATEGORY, "a text, a boolean or an integer, as it is named in `categorical`")
            if as_category
            else (NUMBERS, _NOT_A_NUMBER, "a number")
        )
        if kind not in allowed:
            remedy = remedies.get(kind, _NEITHER)
            found.append(f"the feature {feature!r} is {dtype}, wanted {wanted}: {remedy}")
    return found

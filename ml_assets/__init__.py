"""A production ML platform on Dagster's assets.

What belongs here: what a program of one's own may call. What does not: anything that costs an import.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl


def score(model: str, rows: "pl.DataFrame", as_of: "datetime | None" = None) -> "pl.DataFrame":
    """Score and probability of rows of a model's spine as of an instant (now, when left out), in the order given.

    The columns are those of `predictions/<model>`; the project and its home are found as the command line finds them.
    The same rows as of the end of their day give the daily predictions to the last bit. Scores are made from what the
    lake holds: a group that is behind answers null, and `ml_assets.scoring.score_rows` says which.

    Raises CatalogError for an unknown model, ScoringError for rows that cannot be scored, MissingPartitionError when no
    champion serves.
    """
    from ml_assets.scoring import score_here

    return score_here(model, rows, as_of).rows

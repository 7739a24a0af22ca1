"""How Dagster runs what the catalogue declares: one factory per kind of asset.

What belongs here: arguments in, one call into `domain`, a batch of days out.
What does not: arithmetic (`ml_assets/domain`), windows (`partitions`), files (`resources`).
"""

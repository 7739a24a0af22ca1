"""`events/<source>`: validated rows whose event date is the day, from the day's own extract.

What belongs here: the factory. What does not: contracts (`ml_assets/catalog/sources`).
"""

from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, partitioned_asset
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.specs import SourceSpec


def events_asset(source: SourceSpec) -> AssetsDefinition:
    """The validated events of a source; bad rows go to `quarantine/<source>` with their reasons."""

    def body(ready: Ready) -> DayBatch:
        read = ready.context.resources.extracts.extracts().read(source, ready.days)
        ingested = ingest(source, read.rows, read.unreadable)
        return DayBatch(rows=ingested.rows, verdicts=ingested.verdicts, quarantined=ingested.quarantined)

    return partitioned_asset(
        Frame(
            key=key("events", source.name),
            calendar=source.calendar,
            group="events",
            kinds=frozenset({"polars", "deltalake"}),
            description=source.description,
            code_version=code_fingerprint(source.parse),
            parents={},
            check_description=f"Rows keep the contract {source.contract.__name__}; rows and nulls are within limits.",
        ),
        body,
        required_resources=frozenset({"extracts"}),
    )

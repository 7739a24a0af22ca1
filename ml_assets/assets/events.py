"""`events/<source>`: validated rows whose event date is the day, from the day's own extract.

What belongs here: the stage. What does not: contracts (`ml_assets/catalog/sources`).
"""

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.contracts import column_descriptions
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.specs import Catalog, SourceSpec


def _body(source: SourceSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        read = ready.context.resources.extracts.extracts().read(source, ready.days)
        ingested = ingest(source, read.rows, read.unreadable)
        return DayBatch(
            rows=ingested.rows,
            verdicts=ingested.verdicts,
            quarantined=ingested.quarantined,
            late=read.late,
            delivered=read.hashes,
            deliveries=read.deliveries,
        )

    return body


STAGE = Stage(
    name="events",
    of="sources",
    nature=Nature.FACT,
    holds="validated rows whose event date is D, from the extract of D",
    describe=lambda source: source.description,
    reads=lambda _source, _catalog: {},
    code_version=lambda source, _: code_fingerprint(source.parse),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda source, _: column_descriptions(source.contract),
    resources=frozenset({"extracts"}),
)

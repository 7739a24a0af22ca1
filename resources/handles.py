"""The doors an asset body may open, as Dagster resources.

What belongs here: thin configurable handles. What does not: what is behind them.
"""

from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from resources.delta_store import DeltaStore
from resources.extracts import Extracts
from resources.lake import Lake
from resources.settings import marks_folder


class LakeHandle(ConfigurableResource):
    """The lake, for what is read as of a version or a decision rather than as an asset's input."""

    root_uri: str = Field(description="Directory or object-store URI of the lake.")
    object_store_options: dict[str, str] = Field(default={}, description="Endpoint, credentials and the like.")

    def lake(self) -> Lake:
        """The lake at the configured root."""
        return Lake(DeltaStore(self.root_uri, self.object_store_options, marks_folder(self.root_uri)))


class ExtractsHandle(ConfigurableResource):
    """The date-locked extracts of the sources."""

    folder: str = Field(description="Folder of the extracts, one sub-folder a source.")

    def extracts(self) -> Extracts:
        """The extracts in the configured folder."""
        return Extracts(Path(self.folder))

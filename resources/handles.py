"""The doors an asset body may open, as Dagster resources.

What belongs here: thin configurable handles. What does not: what is behind them.
"""

from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from resources.delta_store import DeltaStore
from resources.extracts import Extracts
from resources.lake import Lake
from resources.settings import lake_root, marks_folder, settings

# What is configuration of Dagster is shown in its UI and kept in its run storage for ever: the home's path may be,
# an object store's URI and options never. They are read from the environment when the lake is opened.
HOME_FIELD = "Folder of the home; the lake lies in it unless $ML_ASSETS_LAKE names another place."


def lake_of(home: Path) -> Lake:
    """The lake of a home, with the options that the environment holds now."""
    root = lake_root(home)
    return Lake.of(DeltaStore(root, settings().storage, marks_folder(root, home)), home / "index")


class LakeHandle(ConfigurableResource):
    """The lake, for what is read as of a version or a decision rather than as an asset's input."""

    home: str = Field(description=HOME_FIELD)

    def lake(self) -> Lake:
        """The lake of the configured home."""
        return lake_of(Path(self.home))


class ExtractsHandle(ConfigurableResource):
    """The date-locked extracts of the sources."""

    folder: str = Field(description="Folder of the extracts, one sub-folder a source.")

    def extracts(self) -> Extracts:
        """The extracts in the configured folder."""
        return Extracts(Path(self.folder))

"""The short catalogue as a Dagster code location over `$ML_ASSETS_HOME`, where `make ui` serves the shipped one."""

from short_year import short_catalog

from ml_assets.definitions import build_defs, resources_of
from resources.home import Home
from resources.project import this_project
from resources.settings import prepare_process

prepare_process()
defs = build_defs(short_catalog(), resources_of(Home(this_project().home)))

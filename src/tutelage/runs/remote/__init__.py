"""Data, runs and stores in object stores: what lies at a URL is brought to a folder here and worked
on there, and what a run commits here is brought back, in an order in which nothing is ever named
that is not there yet. No other room knows of it; fsspec is imported when a URL is first used.
"""

from tutelage.runs.remote.fetching import local_file, local_folder
from tutelage.runs.remote.mirror import mirrored

__all__ = ["local_file", "local_folder", "mirrored"]

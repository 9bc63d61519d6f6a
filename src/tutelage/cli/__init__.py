"""The words people type, and how results look on a terminal."""

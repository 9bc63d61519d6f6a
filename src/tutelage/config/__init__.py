"""Recipes as text: a YAML file as plain values with their places, what is wrong with them in words,
and back to YAML.

Which sections there are is said by the tasks; `tutelage.load_recipe` puts both together. No torch
here, and no data or model file is opened.
"""

from tutelage.config.writing import dump_recipe

__all__ = ["dump_recipe"]

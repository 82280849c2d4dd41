"""Checkpoints of the authors, by the name that this project promises; ``model/authors`` reads them."""

from tinygptv.model.authors.importer import import_authors

__all__ = ["import_authors"]

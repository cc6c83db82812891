"""A user's table: reading it, typing its columns, encoding them with names kept."""

from whycluster.table.columns import TableError
from whycluster.table.encoder import TableEncoder
from whycluster.table.reading import read, write_example

__all__ = ["TableEncoder", "TableError", "read", "write_example"]

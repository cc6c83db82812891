"""A user's table: reading it, typing its columns, encoding them with names kept."""

from whycluster.table.advice import options
from whycluster.table.encoder import TableEncoder
from whycluster.table.forms import TableError
from whycluster.table.input import read, write_example

__all__ = ["TableEncoder", "TableError", "options", "read", "write_example"]

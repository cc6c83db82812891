"""Runs: executing notebooks headless, what they record, and the site that shows it.

A notebook needs one name of this package::

    from whycluster import runs

    run = runs.start("10-idc-synthetic")
    run.save_figure(figure, "clusters")
    run.record(results=[...], seeds=[...])

Everything else is the command line behind the Makefile: ``python -m whycluster.runs --help``.
"""

from whycluster.runs.record import RecordError, Run, start

__all__ = ["RecordError", "Run", "start"]

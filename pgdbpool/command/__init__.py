"""The command line: ``pgdbpool demo``, ``check`` and ``explain``."""

"""The command line: ``pgdbpool demo``, ``check``, ``explain`` and ``top``."""

"""gunicorn's settings for the benchmark; the rest is on its command line."""

from __future__ import annotations

loglevel = "warning"
proc_name = "pgdbpool-bench"
control_socket_disable = True  # newer gunicorns make one in the home directory

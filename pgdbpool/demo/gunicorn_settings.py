"""How gunicorn serves the shop: its configuration file, in whose place no ``gunicorn.conf.py`` is read."""

from __future__ import annotations

workers = 2
worker_class = "gthread"
threads = 16
loglevel = "warning"
graceful_timeout = 2
proc_name = "pgdbpool-demo"
control_socket_disable = True  # newer gunicorns make one in the home directory

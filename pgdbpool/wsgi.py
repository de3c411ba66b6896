"""For WSGI applications: ``Middleware``, by which a client sees in its next request what it wrote in its last one."""

from pgdbpool.web.middleware import Middleware

__all__ = ["Middleware"]

"""For WSGI applications: ``Middleware``, by which a client sees what it wrote before, and ``status_app``, the page."""

from pgdbpool.web.middleware import Middleware
from pgdbpool.web.status import status_app

__all__ = ["Middleware", "status_app"]

"""A small shop: the plain WSGI application that ``pgdbpool demo`` serves."""

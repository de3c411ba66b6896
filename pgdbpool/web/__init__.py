"""What stands between a WSGI server and an application that uses the pool."""

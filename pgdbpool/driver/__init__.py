"""All that speaks to PostgreSQL. Nothing here takes a lock or starts a thread: who calls decides on which thread."""

"""All locks and all threads. The map of both is in doc/architecture.md; each lock says beside it what it guards."""

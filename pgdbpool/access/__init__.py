"""What a user holds and calls: the one-shot query, handlers, transactions, real connections, results."""

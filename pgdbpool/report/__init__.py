"""Reading a pool and putting it into figures and words; nothing here changes anything."""

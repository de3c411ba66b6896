"""Whether a text changes what names stand for: what is learned of these from the catalog is then no longer true."""

from __future__ import annotations

from .reader import QUERIES

_RENAMING = frozenset(["ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "IMPORT", "REASSIGN", "REVOKE", "SECURITY"])
_NEUTRAL = QUERIES | frozenset(
    """
    ABORT ANALYZE BEGIN CHECKPOINT CLOSE CLUSTER COMMIT COPY DEALLOCATE DECLARE DISCARD END EXECUTE EXPLAIN FETCH LISTEN LOAD
    LOCK MOVE NOTIFY PREPARE REFRESH REINDEX RELEASE RESET ROLLBACK SAVEPOINT SET START TRUNCATE UNLISTEN VACUUM
    """.split()
)


def renames(keyword: str, *, of_session: bool, alone: bool, queries: bool) -> bool | None:
    """None: perhaps. ``alone``: the text is that one statement; ``queries``: all of it are."""
    if keyword in _RENAMING:
        return not of_session  # a temporary table is nobody else's
    return False if queries or (alone and keyword in _NEUTRAL) else None

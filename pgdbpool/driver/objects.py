"""What names in a text stand for in the database, as far as that decides whether it only reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pgdbpool.driver.session import Session

# Functions with their volatility (an aggregate's is that of its parts), views and row security policies with their texts,
# sequences, whose value on a standby is one of the future (manual, CREATE SEQUENCE: 32 values are logged at once).
_OBJECTS = """
SELECT proname::text, nspname::text,
  CASE WHEN nspname = 'pg_catalog' THEN provolatile <> 'i'
    ELSE provolatile = 'v' OR EXISTS (SELECT FROM pg_catalog.pg_aggregate JOIN pg_catalog.pg_proc AS part
      ON part.oid IN (aggtransfn, aggfinalfn) WHERE aggfnoid = p.oid AND part.provolatile = 'v') END,
  pronargs = 1 AND EXISTS (SELECT FROM pg_catalog.pg_type WHERE oid = proargtypes[0] AND typtype = 'c'), NULL
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = pronamespace WHERE proname = ANY(%(names)s)
UNION ALL SELECT relname::text, NULL, relkind = 'S', NULL, CASE relkind WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace
  WHERE relname = ANY(%(names)s) AND relkind IN ('v', 'S') AND nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL SELECT relname::text, NULL, false, NULL, 'SELECT ' || pg_catalog.pg_get_expr(polqual, polrelid)
  FROM pg_catalog.pg_policy JOIN pg_catalog.pg_class AS c ON c.oid = polrelid
  WHERE relname = ANY(%(names)s) AND polqual IS NOT NULL
"""


@dataclass(slots=True)
class Meaning:
    """What one name stands for, in whatever schemas.

    ``functions``: each schema's, and whether one of that name there may do more than read. ``attribute``: one of these may
    be called as a column is read (manual, 8.16.5). ``sequence``: it names one. ``texts``: of views, and of the policies of
    a table.
    """

    functions: dict[str, bool] = field(default_factory=dict)
    attribute: bool = False
    sequence: bool = False
    texts: list[str] = field(default_factory=list)


def meanings(session: Session, names: Collection[str], limit: float) -> dict[str, Meaning]:
    """What each of the names stands for in the session's database. Raises what ``Session.ask`` raises."""
    found = {name: Meaning() for name in names}
    for name, schema, doubtful, composite, text in session.ask(_OBJECTS, {"names": list(names)}, limit):
        meaning = found[name]
        if schema is not None:
            meaning.functions[schema] = meaning.functions.get(schema, False) or doubtful
            meaning.attribute |= doubtful and composite and schema != "pg_catalog"
        elif text is not None:
            meaning.texts.append(text)
        meaning.sequence |= schema is None and doubtful
    return found

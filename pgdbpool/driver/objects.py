"""What names in a text stand for in the database, as far as that decides whether it only reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pgdbpool.driver.session import Session

# Functions with their volatility (an aggregate's is that of its parts) and the defaults of their arguments; views and row
# security policies with their texts; sequences, whose value on a standby is one of the future (manual, CREATE SEQUENCE: 32
# values are logged at once).
_OBJECTS = """
SELECT proname::text, nspname::text,
  CASE WHEN nspname = 'pg_catalog' THEN provolatile <> 'i'
    ELSE provolatile = 'v' OR EXISTS (SELECT FROM pg_catalog.pg_aggregate JOIN pg_catalog.pg_proc AS part
      ON part.oid IN (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn,
        aggmfinalfn)
      WHERE aggfnoid = p.oid AND part.provolatile = 'v') END,
  pronargs > 0 AND pronargs - pronargdefaults < 2
    AND EXISTS (SELECT FROM pg_catalog.pg_type WHERE oid = proargtypes[0] AND typtype IN ('c', 'd', 'p')),
  CASE WHEN nspname <> 'pg_catalog' THEN 'SELECT ' || pg_catalog.pg_get_expr(proargdefaults, 0) END
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
    be called as a column is read (manual, 8.16.5). ``sequence``: it names one. ``texts``: of views, of the policies of a
    table, of a function's defaults.
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
        if text is not None:
            meaning.texts.append(text)
        meaning.sequence |= schema is None and doubtful
    return found


# What runs functions that no text names: operators (some of them behind words, as LIKE, IN and JOIN are), casts, and the
# checks of domains.
_UNNAMED = """
WITH doubtful AS (SELECT p.oid FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = pronamespace
  WHERE provolatile = 'v' AND nspname NOT IN ('pg_catalog', 'information_schema'))
SELECT CASE WHEN oprname IN ('=', '<>', '<', '>', '<=', '>=', '~', '!~', '~~', '!~~', '~~*', '!~~*') THEN ''
  ELSE oprname::text END FROM pg_catalog.pg_operator WHERE oprcode IN (SELECT oid FROM doubtful)
UNION SELECT '' FROM pg_catalog.pg_cast WHERE castfunc IN (SELECT oid FROM doubtful)
UNION SELECT '' FROM pg_catalog.pg_depend JOIN pg_catalog.pg_constraint AS c ON c.oid = objid AND contypid <> 0
  WHERE classid = 'pg_catalog.pg_constraint'::regclass AND refclassid = 'pg_catalog.pg_proc'::regclass
    AND refobjid IN (SELECT oid FROM doubtful)
"""


def unnamed(session: Session, limit: float) -> frozenset[str]:
    """The operators that may do more than read; ``""`` among them where something may that no text tells."""
    return frozenset(symbol for (symbol,) in session.ask(_UNNAMED, None, limit))

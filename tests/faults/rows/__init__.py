"""The rows of the fault matrix: the numbers are those of section 4 of the study that the issue names."""

from __future__ import annotations

import importlib
import pkgutil

from tests.faults.rows import row as _registry
from tests.faults.rows.row import Row

__all__ = ["ROWS", "Row"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

ROWS: dict[str, Row] = dict(sorted(_registry.ROWS.items(), key=lambda item: item[1].order))

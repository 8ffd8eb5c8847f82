"""Tables for readers and for programs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from bandbridge.report.rendering import Table


@dataclass(frozen=True, eq=False, repr=False)
class NamedTables(Mapping[str, pd.DataFrame]):
    """Tables by name, each as the frame of its numbers at full precision; str() gives all as Markdown."""

    tables: tuple[Table, ...]

    def __getitem__(self, name: str) -> pd.DataFrame:
        for table in self.tables:
            if table.name == name:
                return table.data
        raise KeyError(f"no table {name!r}; there are {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return (table.name for table in self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __str__(self) -> str:
        from bandbridge.report.rendering import to_markdown

        return "\n".join(map(to_markdown, self.tables))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"

    def _repr_html_(self) -> str:
        from bandbridge.report.rendering import to_html

        return "".join(map(to_html, self.tables))

    def as_dict(self) -> dict[str, Any]:
        """Return the records of each table by name, fit for JSON: what is not a number is None."""
        # pandas writes what is not a number as null, which JSON has.
        return {table.name: json.loads(table.data.to_json(orient="records")) for table in self.tables}

    def table(self) -> pd.DataFrame:
        """Return the first and chief table as the frame of its numbers."""
        return self.tables[0].data

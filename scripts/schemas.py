"""Write the JSON schemas of summary.json and auto.json to docs/reference/, from the types.

python scripts/schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path

from mmx.runs.records import Record
from mmx.runs.search_record import SearchRecord
from mmx.runs.summary import Summary

DOCS = Path(__file__).parent.parent / "docs" / "reference"
SCHEMAS: dict[str, type[Record]] = {
    "summary.schema.json": Summary,
    "auto.schema.json": SearchRecord,
}


def schema_text(record: type[Record]) -> str:
    """Return the schema of a file as it stands in docs/reference/."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**schema, **record.model_json_schema()}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, record in SCHEMAS.items():
        (DOCS / name).write_text(schema_text(record), encoding="utf-8")

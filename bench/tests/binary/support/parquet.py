"""Prints every row of a Parquet file, in the order of the file, as DuckDB understands it.

First a line with the types of the columns, then one line a row: Unix nanoseconds, line, labels,
attributes. Everything as JSON in ASCII, so that no terminal or locale can change it.
"""

import json
import sys

import duckdb

connection = duckdb.connect(config={"preserve_insertion_order": True})
columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [sys.argv[1]]).fetchall()
print(json.dumps({name: kind for name, kind, *_ in columns}))
found = connection.execute(
    "SELECT epoch_ns(time), line, labels, attributes FROM read_parquet(?)", [sys.argv[1]]
)
while rows := found.fetchmany(10_000):
    for row in rows:
        print(json.dumps(row))

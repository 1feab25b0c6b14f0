"""The table of docs/compatibility.md: reads what it promises, writes what was found, compares the two."""

import pathlib

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/compatibility.md"
BEGIN, END = "<!-- the table: tests/clients/run --write -->", "<!-- the end of the table -->"
CELLS = [f"{door} {way}" for door in ("captured", "proxied") for way in ("open", "closed", "credential")]
CELLS.append("asks the proxy")
COLUMNS = ["client", "version", *CELLS, "note"]
HEADS = ["client", "version tried", *["allowed", "denied", "credential"] * 2, "asks the proxy", ""]


def read():
    """What is promised, by the client's name in the table."""
    if not PAGE.exists():
        return {}
    lines = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: dict(zip(COLUMNS, row)) for row in rows if row != HEADS and row[0] != "---"}


def differences(row, promised):
    said = promised.get(row["client"])
    if said is None:
        return ["docs/compatibility.md has no row for it"]
    return [
        f"{cell}: promised is `{said[cell]}`, and it was `{row.get(cell, '-')}`" for cell in CELLS if said[cell] != row.get(cell, "-")
    ]


def text(rows):
    lines = [HEADS, ["---"] * len(HEADS)]
    lines += [[str(row.get(column) or ("-" if column in CELLS else "")) for column in COLUMNS] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(rows):
    """Puts rows into the page; those of clients that were not tried stay."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    kept = {**read(), **{row["client"]: row for row in rows}}
    PAGE.write_text(f"{before}{BEGIN}\n\n{text(sorted(kept.values(), key=lambda row: row['client'].lower()))}\n\n{END}{after}")

"""The right answers out of a file: its forms, its cells, which column has them, and files that are refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.comparison.reference import Reference, digest_of, read_reference
from tasks.errors import InputFileError


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reading(text: str | bytes, name: str = "r.csv", *args: Any) -> Reference:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_reference(str(path), *args)

    return reading


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "custom_id,label\na,x\nb,y\n"),
        ("r.csv", "\ufeffcustom_id;label\r\na;x\r\nb;y\r\n"),
        ("r.tsv", "custom_id\tlabel\na\tx\n\nb\ty\n"),
        ("r.csv", "label | custom_id\nx|a\ny|b\n"),
        ("r.jsonl", '{"custom_id":"a","label":"x"}\n\n{"custom_id":"b","label":"y"}\n'),
        # The index that pandas writes has no name.
        ("r.csv", ",custom_id,label\n0,a,x\n1,b,y\n"),
    ],
)
def test_forms_of_a_file(read: Any, name: str, text: str) -> None:
    assert read(text, name) == Reference({"a": ("x",), "b": ("y",)}, "label", named=False)


def test_a_parquet_file(tmp_path: Path) -> None:
    table = {"custom_id": [1, 2, 3], "label": [["x", "y"], [], None], "lang": ["fr", None, "de"]}
    pq.write_table(pa.table(table), tmp_path / "r.parquet")
    found = read_reference(str(tmp_path / "r.parquet"), "label", ["lang", "none"])
    assert found.answers == {"1": ("x", "y", '["x","y"]')}
    assert (found.column, found.named, found.missing) == ("label", True, 2)
    assert found.fields == {"lang": {"1": "fr", "3": "de"}}


@pytest.mark.parametrize(
    ("cell", "accepted"),
    [
        ('"x"', ('"x"',)),
        (" x ", (" x ",)),
        ('["x", "y", "x"]', ("x", "y", '["x","y","x"]')),
        ("['x', 'y']", ("x", "y", '["x","y"]')),
        ("[1, 2.0]", ("1", "2", "[1,2.0]")),
        # numpy's is one text, and so is what no list is.
        ("['x' 'y']", ("['x' 'y']",)),
        ("[x]", ("[x]",)),
    ],
)
def test_what_a_cell_accepts(read: Any, cell: str, accepted: tuple[str, ...]) -> None:
    quoted = cell.replace('"', '""')
    assert read(f'custom_id,label\na,"{quoted}"\n').answers == {"a": accepted}


def test_blank_cells_are_counted_and_lists_of_nothing_too(read: Any) -> None:
    found = read("custom_id,label\na,x\nb,\nc, \n,y\nd,[]\n")
    assert (found.answers, found.missing) == ({"a": ("x",)}, 3)
    found = read('{"custom_id":"a","label":NaN}\n{"custom_id":"b","label":0}\n{"custom_id":"c"}\n', "r.jsonl")
    assert (found.answers, found.missing) == ({"b": ("0",)}, 2)


def test_integers_beside_a_blank_are_integers(read: Any) -> None:
    assert read("custom_id,label\na,1.0\nb,\nc,-2.0\n").answers == {"a": ("1",), "c": ("-2",)}
    # Without a blank, or beside a fraction, they were written so.
    assert read("custom_id,label\na,1.0\nb,2.0\n").answers == {"a": ("1.0",), "b": ("2.0",)}
    assert read("custom_id,label\na,1.0\nb,\nc,2.5\n").answers == {"a": ("1.0",), "c": ("2.5",)}


@pytest.mark.parametrize("column", ["label", "reference", "answer", "expected", "ideal", "target", "anything"])
def test_the_column_is_found(read: Any, column: str) -> None:
    more = "" if column == "anything" else ",more"
    assert read(f"custom_id,{column}{more}\na,x{more}\n").column == column


def test_the_column_is_named(read: Any) -> None:
    found = read("custom_id,label,truth\na,x,y\n", "r.csv", "truth")
    assert (found.answers, found.column, found.named) == ({"a": ("y",)}, "truth", True)


def test_the_same_twice_is_no_contradiction(read: Any) -> None:
    assert read("custom_id,label\na,x\na,x\n").answers == {"a": ("x",)}


@pytest.mark.parametrize(
    ("text", "name", "column", "message"),
    [
        ("id,label\na,x\n", "r.csv", None, "has no column custom_id; it has id, label."),
        ("", "r.csv", None, "has no column custom_id; it has none."),
        ("custom_id,label\na,x\n", "r.csv", "truth", "has no column 'truth'; it has custom_id, label."),
        ("custom_id,label\na,x\n", "r.csv", "custom_id", "has no column 'custom_id'"),
        ("custom_id,label,answer\na,x,y\n", "r.csv", None, "'label' and 'answer' could both hold the right answers"),
        ("custom_id,p,q\na,x,y\n", "r.csv", None, "name the column with the right answers 'label'"),
        ("custom_id\na\n", "r.csv", None, "name the column with the right answers 'label'"),
        ("custom_id,label,label\na,x,y\n", "r.csv", None, "has two columns 'label': keep one."),
        ("custom_id,label\na,x\nb,y,z\n", "r.csv", None, "row 2 (counted without a header) has 3 cells, the header 2"),
        ("custom_id,label\na,x\nb,z\na,y\n", "r.csv", None, "custom_id 'a' has two different labels, in rows 1 and 3"),
        ("custom_id,label\na,\nb,\n", "r.csv", None, "holds no label: all 2 cells of 'label' are blank"),
        ("custom_id,label\n", "r.csv", None, "holds no label; it needs the columns custom_id and label."),
        (b"custom_id,label\na,\xe9\n", "r.csv", None, "is no CSV file in UTF-8 (other characters)."),
        ('custom_id,label\na,"x\n', "r.csv", None, "is no CSV file in UTF-8 (unexpected end of data)."),
        ("x", "r.xlsx", None, "is a spreadsheet: save its sheet as CSV (UTF-8)."),
        ("x", "r.parquet", None, "is no Parquet file."),
        ('{"custom_id":"a","label":"x"}\n[]\n', "r.jsonl", None, "holds a line that is no JSON object"),
        ("a,x\n", "r.txt", None, "holds a line that is no JSON object"),
    ],
)
def test_files_that_are_refused(read: Any, text: str | bytes, name: str, column: str | None, message: str) -> None:
    with pytest.raises(InputFileError) as caught:
        read(text, name, column)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_the_remedy_fits_the_file(read: Any, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"keep one, or give both as a JSON list where both are right\.$"):
        read("custom_id,label\na,x\na,y\n")
    pq.write_table(pa.table({"custom_id": ["a", "a"], "label": ["x", "y"]}), tmp_path / "r.parquet")
    with pytest.raises(InputFileError, match=r"keep one\.$"):
        read_reference(str(tmp_path / "r.parquet"))


def test_the_digest_is_of_what_it_says() -> None:
    one = digest_of(Reference({"a": ("x",), "b": ("y",)}))
    assert digest_of(Reference({"b": ("y",), "a": ("x",)}, "answer", False, 7)) == one
    others = [
        Reference({"a": ("x",)}),
        Reference({"a": ("x",), "b": ("y", "z")}),
        Reference({"a": ("y",), "b": ("x",)}),
        Reference({"a": ("x",), "b": ("y",)}, fields={"lang": {"a": "fr"}}),
    ]
    assert len({one, *map(digest_of, others)}) == 5
    assert len(digest_of(Reference({"\ud83d": ("\ud83d",)}))) == 64


@pytest.mark.parametrize(("end", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_a_compressed_file(read: Any, end: str, codec: str) -> None:
    data = pa.Codec(codec).compress(b"custom_id;label\na;x\n", asbytes=True)
    assert read(data, f"r.csv.{end}").answers == {"a": ("x",)}
    assert read(data, f"R.CSV.{end.upper()}").answers == {"a": ("x",)}

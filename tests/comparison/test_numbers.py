"""Numbers of a comparison whose truth is known: what counts as equal, as missing, as lost, and what it all costs."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.bedrock.prices import Rate
from tasks.comparison.pricing import Pricing, pricing_of
from tasks.comparison.reference import Reference, read_reference
from tasks.comparison.texts import asked
from tasks.errors import AccountingError, InputFileError
from tests.builders import document, range_of, shard
from tests.comparison.compared import LOST, RATE, REFUSED, Compared
from tests.fakes import Cloud


def accuracy(found: Compared, place: int = 0) -> tuple[float, int]:
    share = found.numbers.variants[place].accuracy
    assert share is not None
    return share.count, share.total


def test_flipped_signs_are_wrong(cloud: Cloud, tmp_path: Path) -> None:
    labels = [str(n % 3 - 1) for n in range(120)]
    flipped = [str(-int(label)) for label in labels]
    found = Compared(cloud, tmp_path, {"flipped": flipped, "right": labels}, labels)
    assert [accuracy(found, n) for n in range(2)] == [(40, 120), (120, 120)]
    (pair,) = found.numbers.pairs
    assert pair.agreement.count == 40


def test_several_acceptable_answers(cloud: Cloud, tmp_path: Path) -> None:
    labels = [("car", "auto", '["car","auto"]')] * 20 + [("bike",)] * 20
    answers = ["Auto."] * 10 + ["car"] * 5 + ['["car", "auto"]'] * 2 + ["bike"] * 23
    found = Compared(cloud, tmp_path, {"a": answers, "b": ["car"] * 20 + ["bike"] * 20}, labels)
    assert accuracy(found) == (37, 40)
    assert found.numbers.pairs[0].agreement.count == 25, "both right, and yet not the same"
    confusion = found.numbers.variants[0].confusion
    assert confusion is not None
    # Of bike all 20; of car the 17 right ones, whichever of the accepted answers they are, and the three bikes.
    assert found.numbers.label_names == ["bike", "car"]
    assert confusion == [[20, 0, 0, 0], [3, 17, 0, 0]]


REFERENCES: dict[str, Any] = {
    "pandas.csv": {"a": "1", "c": "3"},
    "pandas.parquet": {"a": "1", "c": "3"},
    "pandas.jsonl": {"a": "1", "c": "3"},
}


@pytest.mark.parametrize("name", REFERENCES)
def test_what_pandas_writes(tmp_path: Path, name: str) -> None:
    """A hole makes a column of integers one of floats; it is a missing label, and no label of its own."""
    frame = pd.DataFrame({"custom_id": ["a", "b", "c"], "label": [1, None, 3]})
    path = tmp_path / name
    if name.endswith("csv"):
        frame.to_csv(path, index=False)
    elif name.endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    found = read_reference(str(path))
    assert {id: accepted[0] for id, accepted in found.answers.items()} == REFERENCES[name]
    assert (found.missing, found.column, found.named) == (1, "label", False)


def read(tmp_path: Path, text: str, name: str = "r.csv", **options: Any) -> Reference:
    (tmp_path / name).write_text(text)
    return read_reference(str(tmp_path / name), **options)


def test_cells_of_a_reference(tmp_path: Path) -> None:
    found = read(
        tmp_path, 'custom_id,label,lang\na,x,de\nb,  ,en\nc,"[""y"", ""z""]",\nd,1.0,en\n', fields=["lang", "no"]
    )
    assert found.answers == {"a": ("x",), "c": ("y", "z", '["y","z"]'), "d": ("1.0",)}, "1.0 is one here"
    assert (found.missing, found.fields) == (1, {"lang": {"a": "de", "b": "en", "d": "en"}})
    lines = read(
        tmp_path,
        '{"custom_id": 7, "label": true}\n{"custom_id": "b"}\n{"custom_id": "c", "label": ["y", 2]}\n'
        '{"custom_id": "d", "label": {"b": 1}}\n{"custom_id": "e", "label": []}\n',
        "r.jsonl",
    )
    assert lines.answers == {"7": ("true",), "c": ("y", "2", '["y",2]'), "d": ('{"b":1}',)}


@pytest.mark.parametrize(
    ("text", "name", "answers"),
    [
        ("custom_id;label\na;x, y\n", "r.csv", {"a": ("x, y",)}),
        ("custom_id\tlabel\na\tx\n", "r.csv", {"a": ("x",)}),
        ("custom_id|label\na|x\n", "r.csv", {"a": ("x",)}),
        ("\ufeffcustom_id, label\na, x\n", "r.csv", {"a": (" x",)}),
        (",custom_id,gold\n0,a,x\n", "r.csv", {"a": ("x",)}),
        ("custom_id,label\na,None\nb,nan\nc,N/A\n", "r.csv", {"a": ("None",), "b": ("nan",), "c": ("N/A",)}),
        ("custom_id,label\na,007\nb,+1\nc,\n", "r.csv", {"a": ("007",), "b": ("+1",)}),
        (
            "custom_id,label\na,\"['x', 'y']\"\nb,['x' 'y']\n",
            "r.csv",
            {"a": ("x", "y", '["x","y"]'), "b": ("['x' 'y']",)},
        ),
        ('{"custom_id": "a", "label": NaN}\n{"custom_id": "b", "label": 2.0}\n', "r.jsonl", {"b": ("2",)}),
    ],
)
def test_what_other_programs_write(tmp_path: Path, text: str, name: str, answers: dict[str, Any]) -> None:
    assert read(tmp_path, text, name).answers == answers


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("custom_id,label\nb,x\na,1,000\n", "r.csv", r"row 2 .* has 3 cells, the header 2: put cells .* in quotes"),
        ("custom_id,label,label\na,x,y\n", "r.csv", "has two columns 'label': keep one"),
        ("", "r.csv", "has no column custom_id; it has none"),
        ('[{"custom_id": "a", "label": "x"}]', "r.json", "write one object a line"),
        ("", "r.xlsx", "is a spreadsheet: save its sheet as CSV"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read(tmp_path, text, name)


def test_values_of_parquet_are_the_texts_that_people_write(tmp_path: Path) -> None:
    from datetime import date, datetime
    from decimal import Decimal

    values: list[Any] = [
        date(2024, 1, 2),
        datetime(2024, 1, 2),
        datetime(2024, 1, 2, 10, 30),
        Decimal("1.50"),
        b"x",
        True,
    ]
    for value, text in zip(
        values, ["2024-01-02", "2024-01-02", "2024-01-02 10:30:00", "1.50", "x", "true"], strict=True
    ):
        pd.DataFrame({"custom_id": ["a"], "label": [value]}).to_parquet(tmp_path / "r.parquet")
        assert read_reference(str(tmp_path / "r.parquet")).answers == {"a": (text,)}


def test_the_column_is_named_or_said(tmp_path: Path) -> None:
    text = "custom_id,answer,label,p\na,x,y,z\n"
    with pytest.raises(InputFileError, match=r"'label' and 'answer' could both .* label_column"):
        read(tmp_path, text)
    assert read(tmp_path, text, column="p").answers == {"a": ("z",)}
    with pytest.raises(InputFileError, match="no column 'q'; it has custom_id, answer, label, p"):
        read(tmp_path, text, column="q")
    with pytest.raises(InputFileError, match=r"all 2 cells of 'label' are blank"):
        read(tmp_path, "custom_id,label\na,\nb,\n")


def test_blank_cells_are_missing(cloud: Cloud, tmp_path: Path) -> None:
    labels = ["yes", None] * 20
    found = Compared(cloud, tmp_path, {"a": ["yes", "no"] * 20, "b": ["yes", ""] * 20}, labels)
    assert [accuracy(found, n) for n in range(2)] == [(20, 20)] * 2
    assert found.numbers.missing_references == 20
    assert found.numbers.label_names == ["yes"]


def test_all_choices_are_paid_for(cloud: Cloud, tmp_path: Path) -> None:
    answers = [["x", "y", "y"]] * 10
    found = Compared(cloud, tmp_path, {"a": answers})
    (variant,) = found.numbers.variants
    assert variant.cost_usd == pytest.approx(10 * 3 * (100 + 10 * 10) / 1e6)
    assert (variant.input_tokens, variant.total_output_tokens) == (3000, 300)
    assert found.numbers.most_choices == 3
    assert found.rows[0]["cost_usd"] == pytest.approx(3 * 200 / 1e6)


@pytest.mark.parametrize(
    ("choices", "scores", "shown"),
    [
        ("first", [1, 0, 1, 0], "x"),
        ("majority", [0, 1, 1, 0], "y"),
        ("mean", [1 / 3, 2 / 3, 1, 0], "x"),
        ("any", [1, 1, 1, 0], "x"),
    ],
)
def test_which_choice_is_compared(cloud: Cloud, tmp_path: Path, choices: Any, scores: list[float], shown: str) -> None:
    answers = [["x", "y", "y"], ["y", "x", "x"], ["x", "x", "x"], ["y", "z", "y"]] * 5
    found = Compared(cloud, tmp_path, {"a": answers, "b": ["x"] * 20}, ["x"] * 20, choices=choices)
    assert [row["score"] for row in found.rows if row["variant"] == "a"][:4] == pytest.approx(scores)
    count, total = accuracy(found)
    assert count / total == pytest.approx(sum(scores) / 4)
    assert found.rows[0]["answer"] == shown
    (pair,) = found.numbers.pairs
    assert pair.accuracy_difference == pytest.approx(sum(scores) / 4 - 1)
    assert pair.p_value is not None
    assert 0 < pair.p_value < 0.07


def test_an_unknown_cost_is_no_total(cloud: Cloud, tmp_path: Path) -> None:
    answers: list[Any] = ["x"] * 10 + [{"content": "x", "prompt_tokens": None, "completion_tokens": None}] * 10 + [LOST]
    (variant,) = Compared(cloud, tmp_path, {"a": answers}).numbers.variants
    assert (variant.cost_usd, variant.cost_known, variant.answered.count) == (None, 10, 20)
    assert variant.cost_per_thousand is not None
    assert variant.cost_per_thousand.value == pytest.approx(0.2)


def test_cached_tokens_have_their_price(cloud: Cloud, tmp_path: Path) -> None:
    answers = [{"content": "x", "cached_tokens": 90}] * 10
    rates: dict[str, Rate | None] = {"known": Rate(1.0, 10.0, "on_demand", "", "", 0.1), "unknown": RATE}
    found = Compared(cloud, tmp_path, {"known": answers, "unknown": answers}, rates=rates)
    known, unknown = (variant.cost_usd for variant in found.numbers.variants)
    assert known == pytest.approx(10 * (10 + 9 + 100) / 1e6)
    assert unknown == pytest.approx(10 * 200 / 1e6), "at the most"


def test_each_answer_costs_what_its_way_costs() -> None:
    half, full = Rate(1.0, 2.0, "batch", "", ""), Rate(2.0, 4.0, "on_demand", "", "")
    pricing = Pricing(half, full, (0, 100, 200), (0.0, 1.0, 0.25))
    assert [pricing.cost(number, 10**6, 0) for number in (0, 99, 100, 199, 200, 10**6)] == [1, 1, 2, 2, 1.25, 1.25]
    assert math.isnan(Pricing(half, None, (0, 100), (0.0, 1.0)).cost(100, 1, 1))
    assert Pricing(half, None, (0, 100), (0.0, 1.0)).cost(0, 10**6, 0) == 1


def test_prices_follow_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.bedrock.models import parse_model

    shards = [
        shard("00000", ranges=[0], records=100),
        shard("00001", ranges=[1], records=50, route="on_demand"),
        shard("00002", ranges=[0], records=20, round=2, route="on_demand"),
        shard("00003", ranges=[0, 1], records=1, route="none"),
    ]
    section = document(shards).bedrock
    section.ranges = [range_of(0), range_of(1, 50, 100)]
    pricing = pricing_of(section, parse_model("anthropic.claude-haiku-4-5-20251001-v1:0"))
    assert (pricing.starts, pricing.shares) == ((0, 100), (0.2, 1.0))
    assert pricing.cost(0, 10**6, 0) == pytest.approx(0.8 * 0.5 + 0.2 * 1.0)


def test_failures_are_told_from_wrong_answers(cloud: Cloud, tmp_path: Path) -> None:
    """15 % throttled, and better on all the others."""
    labels = ["x", "y"] * 100
    good: list[Any] = [None if n % 20 < 3 else label for n, label in enumerate(labels)]
    worse = [("y" if label == "x" else "x") if n % 20 in (5, 6) else label for n, label in enumerate(labels)]
    refused: list[Any] = [REFUSED if n % 20 < 3 else label for n, label in enumerate(labels)]
    found = Compared(cloud, tmp_path, {"good": good, "worse": worse, "refused": refused}, labels)
    first, second, third = found.numbers.variants
    assert (first.lost, second.lost, third.lost) == (30, 0, 0)
    assert accuracy(found) == (170, 200)
    assert first.accuracy_answered is not None
    assert (first.accuracy_answered.count, first.accuracy_answered.total) == (170, 170)
    pair = found.numbers.pairs[0]
    assert (pair.compared, pair.first_accuracy) == (170, 1.0)
    assert pair.accuracy_difference == pytest.approx(20 / 170)
    assert pair.adjusted_p is not None
    assert pair.adjusted_p < 0.001
    # What the model itself would not answer is its own fault.
    assert found.numbers.pairs[2].only_first_right == 30


def test_costs_of_the_same_requests_are_compared(cloud: Cloud, tmp_path: Path) -> None:
    """One variant failed on the long requests, and is not the cheaper one for that."""
    long, short = {"content": "x", "prompt_tokens": 10**6}, {"content": "x", "prompt_tokens": 100}
    found = Compared(cloud, tmp_path, {"a": [short, long] * 20, "b": [short, None] * 20})
    (pair,) = found.numbers.pairs
    assert pair.cost_both == 20
    assert pair.first_cost == pair.second_cost == pytest.approx(0.2)


def test_repeated_requests_are_one(cloud: Cloud, tmp_path: Path) -> None:
    """The same text ten times, answered alike each time, tells no more than once."""
    texts = [f"text {n // 10}" for n in range(300)]
    labels = ["x", "y"] * 150
    answers = [("x" if label == "y" else "y") if n < 60 else label for n, label in enumerate(labels)]
    found = Compared(cloud, tmp_path, {"a": labels, "b": answers}, labels, texts=texts)
    once = Compared(cloud, tmp_path, {"a": labels[::10], "b": answers[::10]}, labels[::10])
    (pair,), (single,) = found.numbers.pairs, once.numbers.pairs
    assert (pair.compared, pair.clusters, found.numbers.clusters) == (300, 30, 30)
    assert pair.p_value == single.p_value
    assert pair.p_value is not None
    assert pair.p_value < 0.05
    wide, narrow = found.numbers.variants[1].accuracy, once.numbers.variants[1].accuracy
    assert wide is not None
    assert narrow is not None
    assert wide.interval is not None
    assert narrow.interval is not None
    assert wide.interval == pytest.approx(narrow.interval, abs=0.03)
    assert found.numbers.variants[1].macro_f1_interval is None


def test_clusters_and_slices_by_a_field(cloud: Cloud, tmp_path: Path) -> None:
    bodies = [{"metadata": {"customer": str(n % 25), "lang": "de" if n % 4 else "en"}} for n in range(100)]
    labels = ["x"] * 100
    answers = ["x" if n % 4 else "y" for n in range(100)]
    found = Compared(
        cloud,
        tmp_path,
        {"a": answers, "b": labels},
        labels,
        bodies=bodies,
        cluster_by="customer",
        slice_by=("lang", "nowhere"),
    )
    assert (found.numbers.clusters, found.numbers.pairs[0].clusters) == (25, 25)
    german, english = found.numbers.slices["lang"]
    assert [(s.value, s.requests) for s in (german, english)] == [("de", 75), ("en", 25)]
    assert [[share.count for share in s.accuracy] for s in (german, english)] == [[75, 75], [0, 25]]
    assert found.numbers.missing_fields == ["nowhere"]
    reference = Reference({f"r{n}": ("x",) for n in range(100)}, fields={"lang": {"r0": "fr"}})
    found = Compared(cloud, tmp_path, {"a": answers}, reference, bodies=bodies, slice_by=("lang",))
    assert [s.value for s in found.numbers.slices["lang"]] == ["(none)", "fr"], "the reference goes first"


def test_answers_in_sentences_are_counted(cloud: Cloud, tmp_path: Path) -> None:
    labels = ["billing", "delivery"] * 50
    wordy = [f"The category is {label}." if n < 40 else label for n, label in enumerate(labels)]
    found = Compared(cloud, tmp_path, {"wordy": wordy, "b": labels}, labels)
    variant = found.numbers.variants[0]
    assert accuracy(found) == (60, 100)
    assert variant.unknown is not None
    assert (variant.unknown.count, variant.unknown.total, variant.label_inside) == (40, 100, 40)
    assert next(iter(variant.unknown_answers)) == "The category is billing."
    assert found.numbers.labels
    from tasks.comparison.extract import Extract

    found = Compared(cloud, tmp_path, {"wordy": wordy, "b": labels}, labels, extract=Extract(includes=True))
    assert accuracy(found) == (100, 100)
    assert found.numbers.pairs[0].agreement.count == 100


def test_a_scorer_and_numbers(cloud: Cloud, tmp_path: Path) -> None:
    from tasks.comparison.extract import Extract

    labels = [str(n) for n in range(40)]
    answers = [f"Thinking: 1, 2, 3. So {n + 0.004}." for n in range(40)]
    extract = Extract(last_number=True, tolerance=0.01)
    assert accuracy(Compared(cloud, tmp_path, {"a": answers}, labels, extract=extract)) == (40, 40)
    own = Extract(scorer=f"{__name__}:half")
    found = Compared(cloud, tmp_path, {"a": answers, "b": answers}, labels, extract=own)
    assert accuracy(found) == (20, 40)


def half(answer: str, reference: str) -> bool:
    return int(reference) % 2 == 0


def test_no_interval_where_none_is_honest(cloud: Cloud, tmp_path: Path) -> None:
    labels = ["x", "y"] * 50
    one_wrong = ["y", *labels[1:]]
    many_wrong = [("y" if label == "x" else "x") if n % 5 == 0 else label for n, label in enumerate(labels)]
    found = Compared(cloud, tmp_path, {"one": one_wrong, "many": many_wrong}, labels)
    one, many = found.numbers.variants
    assert one.macro_f1_interval is None
    assert many.macro_f1_interval is not None
    assert many.macro_f1_interval[0] < 0.8 < many.macro_f1_interval[1]
    (pair,) = found.numbers.pairs
    assert pair.kappa_interval is not None
    same = Compared(cloud, tmp_path, {"a": labels, "b": labels}, labels).numbers.pairs[0]
    assert (same.kappa, same.kappa_interval) == (1.0, None)


def test_no_picture_takes_what_was_lost_for_wrong(cloud: Cloud, tmp_path: Path) -> None:
    from tasks.comparison.page import _points

    labels = ["x", "y"] * 50
    found = Compared(cloud, tmp_path, {"a": [LOST if n < 30 else each for n, each in enumerate(labels)]}, labels)
    assert [point.y for point in _points(found.numbers, None)] == [100.0]


def test_requests_that_are_not_the_same_ones_are_not_joined(cloud: Cloud, tmp_path: Path) -> None:
    other = {"content": "x", "custom_id": "other"}
    with pytest.raises(AccountingError, match="Request 2 of the input is not the same one"):
        Compared(cloud, tmp_path, {"a": ["x", "x"], "b": ["x", other]})


def test_lines_of_two_files_are_two_requests(cloud: Cloud, tmp_path: Path) -> None:
    answers: list[Any] = [{"content": "x", "file": name, "line": 1} for name in ("a.jsonl", "b.jsonl")]
    found = Compared(cloud, tmp_path, {"a": answers, "b": answers})
    assert (found.numbers.requests, found.joined.most_choices) == (2, 1)


def test_the_sheet_begins_with_the_mark_that_excel_needs(cloud: Cloud, tmp_path: Path) -> None:
    Compared(cloud, tmp_path, {"a": ["é"], "b": ["é"]})
    assert cloud.s3.objects["cmp/answers.csv"].body.startswith(b"\xef\xbb\xbf")


ENDS: list[Any] = [
    {"content": "x", "finish_reason": "length"},
    {"content": "", "finish_reason": "content_filter"},
    {"content": "", "refusal": "I cannot"},
    {"content": " "},
    {"content": "", "finish_reason": "tool_calls", "tool_calls": '[["id","f","{}"]]'},
    {"content": "x"},
    None,
    REFUSED,
]


def test_how_answers_ended(cloud: Cloud, tmp_path: Path) -> None:
    """Of those that were answered; a refusal is no empty answer, and a tool call is no cut."""
    (numbers, _) = Compared(cloud, tmp_path, {"a": ENDS, "b": ["x"] * 8}).numbers.variants
    shares = (numbers.answered, numbers.truncated, numbers.refused, numbers.empty)
    assert [(each.count, each.total) for each in shares] == [(6, 8), (1, 6), (2, 6), (2, 6)]
    assert numbers.lost == 1
    assert numbers.errors == {"rate_limit_exceeded: slow down": 1, "invalid_request_error: too long": 1}


def test_what_the_run_lost_is_left_out_and_what_the_model_failed_is_wrong(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": ["x"] * 7 + [REFUSED, None, "y"], "b": ["x"] * 10}, ["x"] * 9 + [None])
    one = found.numbers.variants[0]
    shares = (one.accuracy, one.accuracy_answered, one.accuracy_compared)
    assert [(each.count, each.total) for each in shares if each] == [(7, 9), (7, 7), (7, 8)]
    assert found.joined.sides[0].scores.tolist() == [1.0] * 7 + [0.0, 0.0, -1.0]
    assert [row["cost_usd"] for row in found.rows if row["variant"] == "a"][7:9] == [None, None]


@pytest.mark.parametrize(
    ("code", "status", "fate"),
    [
        ("server_error", 500, 2),
        ("invalid_model_output", 502, 1),
        ("invalid_request_error", 400, 1),
        ("rate_limit_exceeded", 429, 2),
        ("request_timeout", 408, 2),
        ("x", 409, 2),
        ("x", 424, 2),
        ("x", 425, 2),
        ("x", 429, 2),
        ("x", 500, 2),
        ("x", 499, 1),
        ("x", None, 1),
        ("server_error", None, 2),
        ("rate_limit_exceeded", None, 2),
        ("request_timeout", None, 2),
        ("batch_expired", None, 2),
        ("batch_cancelled", None, 2),
        ("x", 503, 2),
    ],
)
def test_whose_fault_it_is(cloud: Cloud, tmp_path: Path, code: str, status: int | None, fate: int) -> None:
    failed = {"ok": False, "error_code": code, "status_code": status, "error_message": "m", "content": None}
    found = Compared(cloud, tmp_path, {"a": [failed], "b": ["x"]})
    assert found.joined.sides[0].fates.tolist() == [fate]


def test_half_a_right_answer_is_no_right_one(cloud: Cloud, tmp_path: Path) -> None:
    """Of two choices one: its score counts half, and neither table nor matrix call it correct."""
    found = Compared(cloud, tmp_path, {"a": [["y", "x"]] * 4, "b": ["x"] * 4}, ["x", "x", "y", "y"], choices="mean")
    mine = [row for row in found.rows if row["variant"] == "a"]
    assert [(row["score"], row["correct"], row["choices"]) for row in mine] == [(0.5, False, 2)] * 4
    assert found.numbers.variants[0].confusion == [[0, 2, 0, 0], [0, 2, 0, 0]]


def test_likeness_is_of_the_beginning(cloud: Cloud, tmp_path: Path) -> None:
    same = "word " * 400
    found = Compared(cloud, tmp_path, {"a": [same + "one"] * 3, "b": [same + "two"] * 3})
    (pair,) = found.numbers.pairs
    assert pair.similarity is not None
    assert pair.similarity.value == 1.0


def test_unknown_prices_are_no_numbers(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": ["x"] * 3, "b": ["x"] * 3}, rates={"b": None})
    assert [variant.cost_usd is None for variant in found.numbers.variants] == [False, True]
    assert {row["cost_usd"] for row in found.rows if row["variant"] == "b"} == {None}


def test_requests_that_ask_the_same_are_one_cluster_whatever_the_order_of_keys() -> None:
    def line(*parts: str) -> bytes:
        return b'{"body": {"messages": [{%s}]}}' % ", ".join(parts).encode()

    one, other = (
        line('"role": "user"', '"content": [{"type": "text", "text": "q"}]'),
        line('"content": [{"text": "q", "type": "text"}]', '"role": "user"'),
    )
    assert asked(one).key == asked(other).key
    assert asked(one).key != asked(one.replace(b'"q"', b'"r"')).key


def test_a_spreadsheet_is_no_reference(tmp_path: Path) -> None:
    for end in ("xlsx", "xls", "ods"):
        (tmp_path / f"labels.{end}").write_bytes(b"PK")
        with pytest.raises(InputFileError, match="is a spreadsheet: save its sheet as CSV"):
            read_reference(str(tmp_path / f"labels.{end}"))

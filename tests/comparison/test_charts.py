"""Pictures as SVG: round ticks, places to a tenth of a pixel, and nothing from outside as markup."""

import re
import xml.etree.ElementTree as ET

import pytest

from tasks.comparison.charts import Point, _brief, _short, _ticks, multiples, scatter


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1.1, [0, 0.5, 1, 1.5]),
        (83, 97, [80, 85, 90, 95, 100]),
        (0, 0.00007, [0, 0.00002, 0.00004, 0.00006, 0.00008]),
        (0, 12_345, [0, 5_000, 10_000, 15_000]),
    ],
)
def test_ticks_are_round_and_cover_the_span(low: float, high: float, ticks: list[float]) -> None:
    assert _ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00012345, "0.000123"),
        (999, "999"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (2_500_000, "2.5M"),
        (-1500, "-1.5k"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert _short(value) == text


def test_names_are_cut_at_34_characters() -> None:
    assert _brief("x" * 34) == "x" * 34
    assert _brief("x" * 35) == "x" * 33 + "…"


def test_a_point_with_its_interval() -> None:
    picture = scatter([Point("a", 1.0, 90.0, 85.0, 95.0)], "cost", "accuracy")
    # Of 568 by 264 pixels: two thirds of 0 to 1.5 on, and halfway up of 80 to 100.
    assert '<circle cx="434.7" cy="144.0" r="6"/>' in picture
    assert '<line class="whisker" x1="434.7" x2="434.7" y1="210.0" y2="78.0"/>' in picture
    assert "<title>a: 90.0 (85.0 to 95.0), 1</title>" in picture
    # Right of the middle, the name stands before the point.
    assert '<text class="name" x="423.7" y="148.0" text-anchor="end">a</text>' in picture
    assert picture.startswith('<svg viewBox="0 0 640 320" role="img" aria-label="accuracy against cost">')


def test_names_do_not_lie_on_one_another() -> None:
    same = [Point(name, 0.0, 50.0, 40.0, 60.0) for name in "abc"]
    picture = scatter(same, "cost", "accuracy")
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', picture) == [("56.0", "144.0")] * 3
    named = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(\w)', picture)
    assert named == [("67.0", "148.0", "start", "a"), ("67.0", "163.0", "start", "b"), ("67.0", "178.0", "start", "c")]


def test_an_axis_of_shares_ends_at_0_and_100() -> None:
    picture = scatter([Point("a", 0.0, 100.0, 0.0, 100.0)], "cost", "accuracy")
    ticks = re.findall(r'<text class="tick" x="50" y="[\d.]+" text-anchor="end">([^<]+)<', picture)
    assert ticks == ["0", "20", "40", "60", "80", "100"]


def test_the_eleventh_variant_has_the_first_colour() -> None:
    picture = scatter([Point(str(n), float(n), 50.0, 40.0, 60.0) for n in range(11)], "cost", "accuracy")
    assert re.findall(r'<g class="s(\d+)">', picture) == [*"0123456789", "0"]


def test_histograms_are_shares_on_one_scale() -> None:
    (name, few), (other, many) = multiples([("a", [1, 1]), ("b", [0, 30])], [0.0, 5.0, 10.0], "tokens")
    assert (name, other) == ("a", "b")
    # 100 % is the top of both: 50 % is halfway, however many answers there are.
    assert 'class="s0 step" d="M40.0 116.0L40.0 63.0L176.0 63.0L176.0 63.0L312.0 63.0L312.0 116.0"' in few
    assert 'class="s1 step" d="M40.0 116.0L40.0 116.0L176.0 116.0L176.0 10.0L312.0 10.0L312.0 116.0"' in many
    assert "tokens (% of answers)" in few
    assert 'aria-label="Distribution of tokens: b"' in many


def test_histograms_of_no_answers_lie_at_the_bottom() -> None:
    ((_, picture),) = multiples([("a", [0, 0])], [0.0, 5.0, 10.0], "tokens")
    path = re.search(r' d="([^"]+)"', picture)
    assert path is not None
    assert set(re.findall(r"[ML][\d.]+ ([\d.]+)", path[1])) == {"116.0"}
    assert multiples([], [0.0, 1.0], "tokens") == []


EVIL = "<script>alert(1)</script>\"'&"


def test_names_are_text() -> None:
    pictures = [scatter([Point(EVIL, 1.0, 50.0, 40.0, 60.0)], EVIL, EVIL)]
    pictures += [picture for _, picture in multiples([(EVIL, [1])], [0.0, 1.0], EVIL)]
    for picture in pictures:
        root = ET.fromstring(picture)
        assert {each.tag for each in root.iter()} <= {"svg", "g", "title", "line", "circle", "text", "path"}
        assert EVIL in root.attrib["aria-label"]

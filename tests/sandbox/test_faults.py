"""What the imitation is told to do wrong: set by name, used up one by one; and its journal of what was paid for."""

import pytest

from deployments.sandbox.faults import DEFAULTS, Faults, Journal


def test_nothing_goes_wrong_unless_it_is_said() -> None:
    faults = Faults()
    assert {name: faults.get(name) for name in DEFAULTS} == DEFAULTS
    assert not any(faults.happens(name) for name in ("throttle", "drop", "s3_throttle") for _ in range(100))
    with pytest.raises(ValueError, match=r"unknown faults: \['trottle'\]; known: "):
        faults.set({"trottle": 1.0, "drop": 0.5})
    assert faults.get("drop") == 0.0, "of a wrong call nothing is kept"


def test_numbers_and_lists_are_used_up() -> None:
    faults = Faults()
    faults.set({"lose_create_replies": 2, "rubbish_replies": ["html", "empty"]})
    assert [faults.take_one("lose_create_replies") for _ in range(3)] == [True, True, False]
    assert [faults.take_next("rubbish_replies") for _ in range(3)] == ["html", "empty", None]


def test_shares_strike_alike_after_every_reset() -> None:
    faults = Faults()
    drawn = []
    for _ in range(2):
        faults.reset()
        faults.set({"throttle": 0.3})
        drawn.append([faults.happens("throttle") for _ in range(1000)])
    assert drawn[0] == drawn[1]
    assert 250 < sum(drawn[0]) < 350


def test_what_is_set_is_no_other_runs() -> None:
    faults, given = Faults(), {"s3_denied": ["PutObject"]}
    faults.set(given)
    given["s3_denied"].append("GetObject")
    assert faults.get("s3_denied") == ["PutObject"]
    faults.reset()
    assert faults.get("s3_denied") == [] == DEFAULTS["s3_denied"]


def test_the_journal_counts_bodies_by_what_is_in_them() -> None:
    journal = Journal()
    assert [journal.asked("m", {"a": 1, "b": 2}), journal.asked("m", {"b": 2, "a": 1}), journal.asked("n", {})] == [
        1,
        2,
        1,
    ]
    for model in ("m", "m", "n"):
        journal.paid(model, {"text": "\ud800"})
    journal.call("Converse")
    assert journal.snapshot() == {"calls": {"Converse": 1}, "bodies": 2, "paid": 3, "asked": 3, "most_often": 2}
    journal.reset()
    assert journal.snapshot() == {"calls": {}, "bodies": 0, "paid": 0, "asked": 0, "most_often": 0}


def test_the_quotas_are_awss_unless_it_is_said() -> None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/quotas.html: batch inference. All else is well."""
    assert (DEFAULTS["min_records"], DEFAULTS["max_records"], DEFAULTS["max_jobs"]) == (100, 50_000, 20)
    others = {name: value for name, value in DEFAULTS.items() if name not in ("min_records", "max_records", "max_jobs")}
    owner = others.pop("bucket_owner")
    assert owner == "123456789012"
    assert others.pop("record_errors")["rate"] == others.pop("invoke_errors")["rate"] == 0
    assert not any(others.values())

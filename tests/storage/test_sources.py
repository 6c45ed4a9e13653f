"""Which files a name means, in which order, and what is said where it means none."""

import os
from pathlib import Path

import pytest

from tasks.errors import AccessDeniedError, InputFileError, TransientError
from tasks.storage import sources
from tasks.storage.sources import find_sources, source_at
from tasks.storage.uris import S3Uri
from tests.fakes import BUCKET, Cloud


def test_a_name_that_no_file_can_have() -> None:
    for name in ("x" * 5000, "/dev/null/x"):
        with pytest.raises(InputFileError):
            find_sources(name)


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        ("https://example.com/in.jsonl?signature=hunter2", "download the file"),
        ("https://me:hunter2@example.com/in.jsonl", "download the file"),
        ("http://example.com/in.jsonl#hunter2", "download the file"),
        ("gs://bucket/in.jsonl", "only s3:// is read"),
        ("file-AbC123", "the id of a file at OpenAI's API"),
        ("-", "save it to one"),
        ("/dev/null", "save it to one"),
        ("missing.jsonl", "give a path"),
    ],
)
def test_what_is_no_file_is_told_with_the_way_to_one(named: str, remedy: str) -> None:
    with pytest.raises(InputFileError, match=remedy) as raised:
        find_sources(named)
    assert "hunter2" not in str(raised.value)


def test_a_folder_of_other_files_names_some_of_them(tmp_path: Path) -> None:
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text("x")
    with pytest.raises(InputFileError, match=r"holds no \.jsonl.*\(but a\.csv, b\.json\)"):
        find_sources(str(tmp_path))


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Folders, globs and S3 alike: the batch's id is made of the bytes in that order."""
    for name in ("b.jsonl", "a.jsonl", "c.jsonl.gz", "B.jsonl", "x.txt"):
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "d.jsonl").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "e.jsonl").write_bytes(b"{}\n")
    wanted = ["B.jsonl", "a.jsonl", "b.jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        entries = sorted(tmp_path.iterdir(), reverse=True)
        patch.setattr(Path, "iterdir", lambda self: iter(entries))
        assert [source.name for source in find_sources(str(tmp_path))] == [*wanted, "c.jsonl.gz"]
    assert [source.name for source in find_sources(f"{tmp_path}/[aB].jsonl")] == ["B.jsonl", "a.jsonl"]
    assert [source.name for source in find_sources(f"{tmp_path}/*.jsonl")] == wanted
    assert [source.name for source in find_sources(f"{tmp_path}/**/e.jsonl")] == ["e.jsonl"], "at any depth"


def test_a_file_that_was_written_anew_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    versions = []
    for time_ns in (10**18, 10**18 + 1):
        path.write_bytes(b"{}\n")
        os.utime(path, ns=(time_ns, time_ns))
        versions.append(find_sources(str(path))[0].version)
    assert versions == [f"3-{10**18}", f"3-{10**18 + 1}"]


@pytest.mark.parametrize("named", ["", "  ", "\t\n"])
def test_nothing_is_no_input(named: str) -> None:
    with pytest.raises(InputFileError, match="input_file is empty"):
        find_sources(named)


def test_what_is_no_path_is_told_so() -> None:
    with pytest.raises(InputFileError, match="is no path"):
        find_sources("~nobody-of-that-name/in.jsonl")


def test_objects_come_in_the_order_of_their_keys_and_folders_are_none(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("in/b.jsonl", "in/a.jsonl", "in/sub/c.jsonl", "in/x.txt"):
        cloud.s3.put(key, b"{}\n")
    cloud.s3.put("in/folder.jsonl/", b"")
    listed = sources._listed
    monkeypatch.setattr(sources, "_listed", lambda *given, **more: reversed(list(listed(*given, **more))))
    for named, found in {
        f"s3://{BUCKET}/in": ["a", "b"],
        f"s3://{BUCKET}/in/*.jsonl": ["a", "b"],
        f"s3://{BUCKET}/in/**/*.jsonl": ["a", "b", "c"],
        f"s3://{BUCKET}/in/*": ["a", "b", "x"],
        f"s3://{BUCKET}/in/**": ["a", "b", "c", "x"],
    }.items():
        assert [source.name[0] for source in find_sources(named)] == found, named


def test_an_object_that_goes_away_while_it_is_looked_at(cloud: Cloud) -> None:
    cloud.s3.put("in/a.jsonl", b"{}\n")
    cloud.s3.before("GetObject", lambda: cloud.s3.objects.pop("in/a.jsonl"))
    with pytest.raises(InputFileError, match=r"went away while it was looked at\. Run the same call again"):
        find_sources(f"s3://{BUCKET}/in")


def test_as_many_files_as_an_input_may_have(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sources.MOST_FILES == 10_000
    monkeypatch.setattr(sources, "MOST_FILES", 2)
    for name in "abc":
        cloud.s3.put(f"in/{name}.jsonl", b"{}\n")
        (tmp_path / f"{name}.jsonl").write_bytes(b"{}\n")
    for place in (f"s3://{BUCKET}/in", str(tmp_path)):
        with pytest.raises(InputFileError, match="names 3 files; an input may have 2"):
            find_sources(place)
    del cloud.s3.objects["in/c.jsonl"]
    (tmp_path / "c.jsonl").unlink()
    for place in (f"s3://{BUCKET}/in", str(tmp_path)):
        assert len(find_sources(place)) == 2


def test_what_a_file_is_packed_with_is_told_by_its_first_bytes(cloud: Cloud, tmp_path: Path) -> None:
    """Not by its name: what a browser saved may be called anything."""
    bodies = {"a": b"\x1f\x8b\x08\x00", "b": b"\x28\xb5\x2f\xfd", "c": b"{}\n", "d": b"", "e": b"\x28\xb5\x2f"}
    for name, body in bodies.items():
        cloud.s3.put(f"in/{name}.jsonl", body)
        (tmp_path / f"{name}.jsonl").write_bytes(body)
    expected = ["gzip", "zstd", None, None, None]
    for place in (f"s3://{BUCKET}/in", str(tmp_path)):
        found = find_sources(place)
        assert [source.compression for source in found] == expected
        assert [source.bytes for source in found] == [len(body) for body in bodies.values()]
        # A file of the input goes by its name, what we wrote by its key.
        assert not any(source.is_ours for source in found)
    assert cloud.s3.count("GetObject") == 4, "of nothing, nothing is read"
    ours = source_at(S3Uri(BUCKET, "in/c.jsonl"))
    assert (ours.name, ours.uri, ours.bytes, ours.is_ours) == ("in/c.jsonl", f"s3://{BUCKET}/in/c.jsonl", 3, True)
    assert ours.version == cloud.s3.objects["in/c.jsonl"].etag


def test_a_file_of_that_very_name_goes_before_a_pattern(tmp_path: Path) -> None:
    for name in ("a[1].jsonl", "a1.jsonl"):
        (tmp_path / name).write_bytes(b"{}\n")
    assert [source.name for source in find_sources(f"{tmp_path}/a[1].jsonl")] == ["a[1].jsonl"]
    assert [source.name for source in find_sources(f"{tmp_path}/a[[]1].jsonl")] == ["a[1].jsonl"]
    (tmp_path / "a[1].jsonl").unlink()
    assert [source.name for source in find_sources(f"{tmp_path}/a[1].jsonl")] == ["a1.jsonl"]


def test_of_many_other_files_three_are_named(tmp_path: Path) -> None:
    for name in "dcba":
        (tmp_path / f"{name}.csv").write_text("x")
    with pytest.raises(InputFileError, match=r"\(but a\.csv, b\.csv, c\.csv, …\); name a file, or a glob"):
        find_sources(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match=r"holds no \.jsonl, \.jsonl\.gz or \.jsonl\.zst file; name"):
        find_sources(str(tmp_path / "empty"))


def test_what_s3_does_not_have_is_told_apart(cloud: Cloud) -> None:
    with pytest.raises(InputFileError, match=r"There is no object 's3://bucket/in/a\.jsonl', and no \.jsonl file in"):
        find_sources(f"s3://{BUCKET}/in/a.jsonl")
    cloud.s3.refuse("HeadObject", "NoSuchBucket", 404)
    with pytest.raises(InputFileError, match=r"There is no bucket 'bucket': check input_file"):
        find_sources(f"s3://{BUCKET}/in/a.jsonl")
    cloud.s3.refuse("ListObjectsV2", "SlowDown", 503, times=None)
    with pytest.raises(TransientError, match=r"listing s3://bucket/in/"):
        find_sources(f"s3://{BUCKET}/in/")


def test_who_may_list_may_name_a_pattern(cloud: Cloud) -> None:
    """Nobody may look at an object that is called so; of one that is named, the permission is what lacks."""
    cloud.s3.put("in/a.jsonl", b"{}\n")
    for named, found in ((f"s3://{BUCKET}/in/*.jsonl", True), (f"s3://{BUCKET}/in/a.jsonl", False)):
        cloud.s3.refuse("HeadObject", "403", 403)
        cloud.s3.refuse("GetObject", "AccessDenied", 403)
        if found:
            cloud.s3.put(named.removeprefix(f"s3://{BUCKET}/"), b"{}\n")
            cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403)
            assert [source.name for source in find_sources(named)] == ["*.jsonl", "a.jsonl"]
        else:
            with pytest.raises(AccessDeniedError):
                find_sources(named)


def test_a_folder_that_may_not_be_read_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", denied)
        with pytest.raises(InputFileError, match=r"cannot be read: Permission denied\."):
            find_sources(str(tmp_path))
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputFileError, match=r"a\.jsonl cannot be read: Permission denied\."):
        find_sources(str(tmp_path))


def test_a_worker_elsewhere_finds_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"{}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ("in.jsonl", "*.jsonl", "~/in.jsonl", "."):
        assert [source.uri for source in find_sources(named)] == [str(tmp_path.resolve() / "in.jsonl")]


def test_the_marker_of_a_folder_is_no_input(cloud: Cloud) -> None:
    """The console makes an empty object of a folder's name."""
    cloud.s3.put("in/", b"")
    cloud.s3.put("in/a.jsonl", b"{}\n")
    for named in ("in/", "in"):
        assert [source.name for source in find_sources(f"s3://{BUCKET}/{named}")] == ["a.jsonl"]

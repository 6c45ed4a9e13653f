"""What jobs left in S3: their objects, and what they counted."""

import msgspec

from tasks.results.outputs import Manifest, OutputObject, ShardOutput, list_outputs
from tasks.storage.uris import S3Uri
from tests.builders import REF
from tests.fakes import BUCKET, Cloud

FOLDER = REF.uri("bedrock", "on-demand", "part-00000")


def test_a_folder_is_listed_by_names(cloud: Cloud) -> None:
    stored = [cloud.s3.put(FOLDER.join(name).key, b"x" * size) for name, size in (("b", 2), ("a", 1), ("c/d", 3))]
    cloud.s3.put(REF.uri("bedrock", "on-demand", "part-00000-1", "e").key, b"another shard's")
    assert list_outputs(FOLDER) == [
        OutputObject(str(S3Uri(BUCKET, f"{FOLDER.key}/{name}")), stored[place].etag, size, 1)
        for place, name, size in ((1, "a", 1), (0, "b", 2), (2, "c/d", 3))
    ]


def test_many_are_listed_to_the_last_page(cloud: Cloud) -> None:
    for number in range(2001):
        cloud.s3.put(FOLDER.join(f"r{number:09d}").key, b"")
    assert len(list_outputs(FOLDER)) == 2001
    assert cloud.s3.count("ListObjectsV2") == 3


def test_answers_on_demand_are_those_there_are_now(cloud: Cloud) -> None:
    given = [OutputObject("s3://b/k", '"1"', 1)]
    assert ShardOutput("00000", given, None, []).found() == given
    assert not cloud.s3.calls
    on_demand = ShardOutput("00000", [], None, [], folder=FOLDER)
    assert on_demand.found() == []
    cloud.s3.put(FOLDER.join("r000000000").key, b"1")
    assert [found.uri for found in on_demand.found()] == [str(FOLDER.join("r000000000"))]


def test_a_manifest_in_bedrocks_names() -> None:
    body = (
        b'{"totalRecordCount":1,"processedRecordCount":2,"successRecordCount":3,"errorRecordCount":4,'
        b'"inputTokenCount":5,"outputTokenCount":6,"inputAudioSecond":7}'
    )
    assert msgspec.json.decode(body, type=Manifest) == Manifest(1, 2, 3, 4, 5, 6)
    assert msgspec.json.decode(b"{}", type=Manifest) == Manifest(None, None, None, None, None, None)

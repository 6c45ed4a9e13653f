"""The log of several batches side by side: each line says whose it is."""

import logging

import pytest

from tasks.support.run_context import logs_named, run_log


def test_lines_begin_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_log().info("%s of %d", "one", 2)
    with logs_named("lite, 50 %"):
        run_log().info("%s of %d", "one", 2)
        run_log().warning("100 % done")
        with logs_named("judge"):
            run_log().error("no")
    run_log().info("end")
    assert caplog.messages == ["one of 2", "lite, 50 %: one of 2", "lite, 50 %: 100 % done", "judge: no", "end"]

"""Another project whose packages have our names: it is told which file is in the way."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_tasks_package_of_another_project_is_named(tmp_path: Path) -> None:
    other = tmp_path / "tasks" / "__init__.py"
    other.parent.mkdir()
    other.write_text("")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-c", "import flows"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: {other} is in the way")
    assert str(ROOT / "tasks") in last

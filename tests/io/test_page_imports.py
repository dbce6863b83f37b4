"""What draws pages is imported when a page is drawn, and not before."""

import json
import subprocess
import sys

from tests.support.servers import ROOT

PROGRAM = """
import json, sys
import evergreen.tasks.io.replay_pareto
of_replays = [name for name in ("plotly", "mlflow") if name in sys.modules]
import evergreen.tasks.io.evidently
print(json.dumps([of_replays, "evidently" in sys.modules]))
"""


def test_the_drawing_libraries_are_imported_when_a_page_is_drawn_and_not_before():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True, timeout=250
    )
    assert [[], False] == json.loads(done.stdout)

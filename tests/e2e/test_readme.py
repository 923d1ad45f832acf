"""The README's curl session, run line by line as it stands there."""

import shutil
from pathlib import Path

from tests.e2e.console import perform, session
from tests.e2e.server import MULTITENANT_RUN, ROOT, Server, free_port


def test_the_session_in_the_readme_is_what_happens(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env", tmp_path / ".env")
    port = str(free_port())
    steps = session((ROOT / "README.md").read_text().replace("5000", port))
    assert len(steps) > 12

    with Server(MULTITENANT_RUN, {"PORT": port, "WORKERS": "2"}, tmp_path) as server:
        server.wait_until_ready()
        perform(steps, tmp_path)

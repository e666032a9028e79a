# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests share: the folder of material from elsewhere, and how its absence is said."""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder with the article's own files. Absent: the tests that need it are skipped by name, or fail under CI=1."""
    folder = pathlib.Path(os.environ.get("ISTHMESH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is not here, and CI says it must be")
        pytest.skip(f"{folder} is not here: the article's own files were not tried")
    return folder

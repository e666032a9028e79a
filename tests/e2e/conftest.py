# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests share: the folder of material from elsewhere, and how its absence is said."""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


SHARED_FOLDER = pathlib.Path(os.environ.get("ISTHMESH_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder with the article's own files. Absent: the tests that need it are skipped by name, or fail under CI=1."""
    if not (SHARED_FOLDER / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED_FOLDER} is not here, and CI says it must be")
        pytest.skip(f"{SHARED_FOLDER} is not here: the article's own files were not tried")
    return SHARED_FOLDER

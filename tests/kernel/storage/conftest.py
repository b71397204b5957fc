import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import InAccount
from tests.kernel.storage import views


@pytest.fixture
def store(account_dir: str, in_account: InAccount) -> Iterator[str]:
    """A place for a store of the account."""
    path = f"{account_dir}/store"
    yield path
    in_account(views.remove_store, path)


@pytest.fixture
def share() -> Iterator[Path]:
    """A directory for archives that the account can read."""
    with tempfile.TemporaryDirectory(prefix="rpt-share-", dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield Path(path)

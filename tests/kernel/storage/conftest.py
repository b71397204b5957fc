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
def share(tmp_path: Path) -> Path:
    """A directory for archives that the account can read."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    return tmp_path

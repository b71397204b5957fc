import hashlib
import os
from pathlib import Path

import pytest

from storage.blobs import BlobWriter, blob_size, has_blob, open_blob, read_blob, write_blob
from storage.errors import BlobMissing, DigestMismatch, DiskFull, InvalidDocument
from tests.unit.storage.stores import new_store

DATA = b"some bytes" * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def test_written_blob_is_read_back(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    assert write_blob(layout, DATA) == DIGEST
    assert write_blob(layout, DATA) == DIGEST
    assert has_blob(layout, DIGEST)
    assert read_blob(layout, DIGEST) == DATA
    assert blob_size(layout, DIGEST) == len(DATA)
    assert os.listdir(layout.partial_dir) == []


def test_missing_blob_is_named(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    for read in (read_blob, open_blob, blob_size):
        with pytest.raises(BlobMissing, match=DIGEST):
            read(layout, DIGEST)


def test_damaged_blob_is_refused(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    write_blob(layout, DATA)
    Path(layout.blob(DIGEST)).write_bytes(DATA[:-1] + b"X")
    with pytest.raises(DigestMismatch, match="does not have its digest"):
        read_blob(layout, DIGEST)


def test_large_document_is_not_read(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    write_blob(layout, DATA)
    with pytest.raises(InvalidDocument, match="at most 100 are read"):
        read_blob(layout, DIGEST, 100)


def test_interrupted_blob_goes_on(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    with BlobWriter(layout, DIGEST) as first:
        first.write(DATA[:4000])
    with BlobWriter(layout, DIGEST) as second:
        assert second.arrived_bytes == 4000
        assert b"".join(second.replay()) == DATA[:4000]
        second.write(DATA[4000:])
        assert second.commit(DIGEST, len(DATA)) == DIGEST
    assert read_blob(layout, DIGEST) == DATA
    assert os.listdir(layout.partial_dir) == []


def test_restart_forgets_what_arrived(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    with BlobWriter(layout, DIGEST) as first:
        first.write(b"nonsense")
    with BlobWriter(layout, DIGEST) as second:
        list(second.replay())
        second.restart()
        second.write(DATA)
        second.commit(DIGEST, len(DATA))
    assert read_blob(layout, DIGEST) == DATA


@pytest.mark.parametrize("wrong", [DATA + b"x", DATA[:-1], DATA[:-1] + b"X"], ids=repr)
def test_wrong_bytes_never_become_a_blob(tmp_path: Path, wrong: bytes) -> None:
    layout = new_store(tmp_path)
    with BlobWriter(layout, DIGEST) as writer:
        writer.write(wrong)
        with pytest.raises(DigestMismatch):
            writer.commit(DIGEST, len(DATA))
    assert not has_blob(layout, DIGEST)
    assert os.listdir(layout.partial_dir) == []


def test_nameless_blob_is_thrown_away_unless_committed(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    with BlobWriter(layout) as writer:
        writer.write(DATA)
    assert os.listdir(layout.partial_dir) == []
    assert os.listdir(layout.blobs_dir) == []


def test_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = new_store(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with BlobWriter(layout, DIGEST) as writer:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFull, match="No space left"):
            writer.write(DATA)

import hashlib

import pytest

from storage.digest import check_digest, digest_of, hex_of, is_digest, short_hash
from storage.errors import InvalidDocument

GOOD = "sha256:" + "0f" * 32


def test_good_digest_is_returned() -> None:
    assert check_digest(GOOD, "x") == GOOD
    assert hex_of(GOOD) == "0f" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0F" * 32,
        "sha256:" + "0" * 63,
        "sha256:../../etc/passwd",
        GOOD + "\n",
    ],
)
def test_bad_digest_names_its_place(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(InvalidDocument, match=r"^manifest\.config\.digest: "):
        check_digest(text, "manifest.config.digest")


@pytest.mark.parametrize("value", [None, 5, ["sha256"], {}], ids=repr)
def test_digest_of_wrong_type_is_an_error(value: object) -> None:
    with pytest.raises(InvalidDocument, match="a digest is expected"):
        check_digest(value, "x")


def test_other_algorithms_are_named() -> None:
    with pytest.raises(InvalidDocument, match="sha512 is not supported"):
        check_digest("sha512:" + "0" * 128, "x")


def test_digests_are_those_of_hashlib() -> None:
    assert digest_of(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert len(short_hash("abc")) == 16
    assert short_hash("abc") != short_hash("abd")

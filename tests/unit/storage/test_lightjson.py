import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import lightjson

REPOSITORY = Path(__file__).parents[3]
BROKEN = ["{", '{"a"', '{"a":', "[1,", "nul", '{"a":1}x', '"\\x"', "1e", "", '"\x01"', "[1 2]"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(value=values)
def test_values_go_there_and_back_as_with_json(value: object) -> None:
    text = lightjson.dumps(value)
    assert text == json.dumps(value)
    assert lightjson.loads(text) == value
    assert lightjson.loads(f" \n{json.dumps(value, indent=1)}\t".encode()) == value


@pytest.mark.parametrize("text", BROKEN)
def test_broken_texts_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lightjson.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_broken_texts_are_value_errors_without_the_json_package(text: str) -> None:
    """Its C scanner has no exception to raise while json.decoder is not loaded."""
    script = (
        "import sys; from storage import lightjson; assert 'json' not in sys.modules\n"
        f"try: lightjson.loads({text!r})\n"
        "except ValueError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.stdout == "refused\n", done.stderr

"""What goes over the channel of a run is JSON, whichever encoder made it."""

import importlib.util
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from jesse_mcp.adapters.embedded.template_process import ENGINE_SIDE

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["NaN", "-Infinity"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def encoded(message: dict[str, Any]) -> bytes:
    """By path, because the engine's side is no package."""
    spec = importlib.util.spec_from_file_location("engine_channel", ENGINE_SIDE / "channel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    payload: bytes = module.encoded(message)
    return payload


@given(value=VALUES)
def test_every_value_arrives_as_it_was(value: Any) -> None:
    payload = encoded({"value": value})
    for arrived in (json.loads(payload), from_json(payload)):
        assert repr(arrived["value"]) == repr(value), "also the sign of zero and the kind of number"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_a_number_that_is_not_finite_does_not_pass(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encoded({"value": value})


def test_half_a_character_becomes_a_question_mark() -> None:
    assert json.loads(encoded({"log": "half \ud83d of it"})) == {"log": "half ? of it"}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        encoded({"value": object()})


def test_nonsense_in_any_depth_is_an_error_and_no_crash() -> None:
    for payload in (b"[" * 1_000_000, b"{", b"\xff", b"1" * 10_000 + b"x"):
        with pytest.raises(ValueError, match="line 1"):
            from_json(payload)

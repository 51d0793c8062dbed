"""Tools for the conformance suite that ask the client: as they run, or by answers that want a second call."""

from typing import Any

from fastmcp import Context, FastMCP
from mcp import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

_QUESTION = "What is the capital of France?"
_TEXT = {"type": "string"}
_OPTIONS = ["option1", "option2", "option3"]
_TITLED = [{"const": f"value{number}", "title": f"Value {number}"} for number in (1, 2, 3)]
_DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_ENUMS = {
    "untitledSingle": {"type": "string", "enum": _OPTIONS},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": _OPTIONS, "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def add(server: FastMCP) -> None:
    add_questions(server)
    add_rounds(server)
    add_choices(server)
    add_states(server)


def add_questions(server: FastMCP) -> None:
    """Tools that ask while they run, which the older protocol allows."""

    @server.tool
    async def test_sampling(prompt: str, context: Context) -> str:
        """Asks the client's model."""
        answer = await context.session.create_message(
            [_message(prompt)], max_tokens=100, related_request_id=context.request_id
        )
        return f"LLM response: {answer.content}"

    @server.tool
    async def test_elicitation(message: str, context: Context) -> str:
        """Asks the user."""
        return await _asked(context, message, {"username": _TEXT, "email": _TEXT})

    @server.tool
    async def test_elicitation_sep1034_defaults(context: Context) -> str:
        """Asks with defaults."""
        return await _asked(context, "Look through these", _DEFAULTS)

    @server.tool
    async def test_elicitation_sep1330_enums(context: Context) -> str:
        """Asks with choices."""
        return await _asked(context, "Choose", _ENUMS)

    @server.tool
    async def test_reconnection(context: Context) -> str:
        """Ends the stream of its answer early."""
        await context.close_sse_stream()
        return "Reconnection test completed"

    @server.tool
    async def test_missing_capability(context: Context) -> str:
        """Wants a client with a model."""
        able = context.session.client_capabilities
        if able is None or able.sampling is None:
            needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "this needs sampling", needed)
        return "there is one"


def add_rounds(server: FastMCP) -> None:
    """Tools that are called again with what they asked for, as in the newer protocol."""

    @server.tool(output_schema=None)
    async def test_input_required_result_elicitation(context: Context) -> Any:
        """Wants a name."""
        answer = _answers(context).get("user_name")
        if isinstance(answer, ElicitResult) and answer.content:
            return f"Hello, {answer.content['name']}!"
        return InputRequiredResult(input_requests={"user_name": _form("name")})

    @server.tool(output_schema=None)
    async def test_input_required_result_sampling(context: Context) -> Any:
        """Wants an answer of a model."""
        if "capital_question" in _answers(context):
            return "The model has answered."
        return InputRequiredResult(input_requests={"capital_question": _sampled()})

    @server.tool(output_schema=None)
    async def test_input_required_result_list_roots(context: Context) -> Any:
        """Wants roots."""
        if "client_roots" in _answers(context):
            return "There are roots."
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})


def add_choices(server: FastMCP) -> None:
    """The same with several questions, with those a client can answer, and as a prompt."""

    @server.tool(output_schema=None)
    async def test_input_required_result_multiple_inputs(context: Context) -> Any:
        """Wants all three."""
        wanted = {"user_name": _form("name"), "greeting": _sampled(), "client_roots": ListRootsRequest()}
        if wanted.keys() <= _answers(context).keys():
            return "All are there."
        return InputRequiredResult(input_requests=wanted, request_state="all")

    @server.tool(output_schema=None)
    async def test_input_required_result_capabilities(context: Context) -> Any:
        """Wants what the client can do."""
        able = context.session.client_capabilities
        wanted: dict[str, Any] = {}
        if able is not None and able.sampling is not None:
            wanted["sample"] = _sampled()
        if able is not None and able.elicitation is not None:
            wanted["ask"] = _form("name")
        return InputRequiredResult(input_requests=wanted, request_state="able")

    @server.prompt
    async def test_input_required_result_prompt(context: Context) -> Any:
        """Wants a context."""
        answer = _answers(context).get("user_context")
        if isinstance(answer, ElicitResult) and answer.content:
            return f"In this context: {answer.content['context']}"
        return InputRequiredResult(input_requests={"user_context": _form("context")})


def add_states(server: FastMCP) -> None:
    """Tools that get back what they gave."""

    @server.tool(output_schema=None)
    async def test_input_required_result_request_state(context: Context) -> Any:
        """Has its state confirmed."""
        if context.request_state == "nonce" and "confirm" in _answers(context):
            return "state-ok"
        return InputRequiredResult(input_requests={"confirm": _form("ok", "boolean")}, request_state="nonce")

    @server.tool(output_schema=None)
    async def test_input_required_result_tampered_state(context: Context) -> Any:
        """Must not get another state than it gave."""
        if context.request_state is not None:
            return "state-ok"
        return InputRequiredResult(input_requests={"confirm": _form("ok", "boolean")}, request_state="first")

    @server.tool(output_schema=None)
    async def test_input_required_result_multi_round(context: Context) -> Any:
        """Asks twice."""
        match context.request_state:
            case None:
                return InputRequiredResult(input_requests={"step1": _form("name")}, request_state="1")
            case "1":
                return InputRequiredResult(input_requests={"step2": _form("color")}, request_state="2")
            case _:
                return "Both steps are done."


async def _asked(context: Context, message: str, properties: dict[str, Any]) -> str:
    schema = {"type": "object", "properties": properties, "required": []}
    answer = await context.session.elicit(message, schema, related_request_id=context.request_id)
    return f"action={answer.action}, content={answer.content}"


def _answers(context: Context) -> dict[str, Any]:
    return dict(context.input_responses or {})


def _message(text: str) -> SamplingMessage:
    return SamplingMessage(role="user", content=TextContent(type="text", text=text))


def _sampled() -> CreateMessageRequest:
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[_message(_QUESTION)], max_tokens=50)
    )


def _form(field: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"{field}?", requested_schema=schema))

"""Tokens: how they are made, kept, recognised and refused."""

import hashlib
import hmac
import json
import re
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.cli import main, token
from jesse_mcp.domain import access
from jesse_mcp.domain.access import ALL_SCOPES, Scope, TokenRecord, granted, parse_scopes, token_digest
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.tokens import TokenService

GOOD = "g" * 32
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def service(path: Path, clock: Clock) -> TokenService:
    return TokenService(TokenFile(path), now=clock)


def test_the_hash_is_sha256() -> None:
    """Of FIPS 180-2, appendix B.1: the message "abc"."""
    assert token_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_token_is_told_once_and_recognised(service: TokenService, path: Path) -> None:
    secret, record = service.create("bot", [Scope.READ, Scope.RESEARCH])
    assert re.fullmatch(r"jmcp_[A-Za-z0-9_-]{43}", secret), "256 bits in base64"
    assert record.last_four == secret[-4:]
    found = service.identify(secret)
    assert found is not None
    caller, kept = found
    assert (caller.name, caller.scopes, kept) == (
        "token:bot",
        frozenset({Scope.READ, Scope.RESEARCH}),
        record,
    )
    text = path.read_text()
    assert secret not in text
    assert secret.removeprefix("jmcp_")[:8] not in text
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".lock"] == ["tokens.json"]


def test_two_tokens_are_never_alike(service: TokenService) -> None:
    assert len({service.create(f"bot{n}", [Scope.READ])[0] for n in range(50)}) == 50


@pytest.mark.parametrize("change", ["", "x", "-1", "upper", "space"])
def test_nearly_right_is_wrong(service: TokenService, change: str) -> None:
    secret, _ = service.create("bot", [Scope.READ])
    wrong = {"": "", "x": secret + "x", "-1": secret[:-1], "upper": secret.swapcase(), "space": secret + " "}
    assert service.identify(wrong[change]) is None


@given(st.text(st.characters()))
def test_any_text_may_be_offered(text: str) -> None:
    service = TokenService(TokenFile(Path("/nowhere/at-all")), f"bot:read:{GOOD}")
    assert (service.identify(text) is not None) is (text == GOOD)


def test_expiry(service: TokenService, clock: Clock) -> None:
    secret, record = service.create("bot", [Scope.READ], 2)
    assert record.expires_at == clock.now + 2 * DAY
    clock.now += 2 * DAY - 0.001
    assert service.identify(secret) is not None
    assert service.any_usable()
    clock.now += 0.001
    assert service.identify(secret) is None
    assert not service.any_usable()
    assert service.any_known(), "the door does not open when the last key has expired"


def test_what_another_process_revokes_is_refused_at_once(path: Path, clock: Clock) -> None:
    serving, other = (TokenService(TokenFile(path), now=clock) for _ in range(2))
    secret, _ = other.create("bot", [Scope.READ])
    assert serving.identify(secret) is not None
    revoked = other.revoke("bot")
    assert revoked.revoked_at == clock.now
    assert serving.identify(secret) is None
    assert (serving.any_usable(), serving.any_known()) == (False, True)
    fresh, _ = other.create("bot", [Scope.WRITE])
    assert serving.identify(fresh) is not None
    assert serving.identify(secret) is None
    assert [record.revoked_at for record in serving.listing()] == [clock.now, None]


def test_every_record_is_compared_in_constant_time(
    service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [service.create(f"bot{n}", [Scope.READ])[0] for n in range(3)]
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    class Spied:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(access, "hmac", Spied)
    assert service.identify(secrets[0]) is not None
    assert compared == [token_digest(secret) for secret in secrets], "no early exit"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_others_may_read_opens_nothing(service: TokenService, path: Path, mode: int) -> None:
    secret, _ = service.create("bot", [Scope.READ])
    path.chmod(mode)
    assert service.identify(secret) is None
    with pytest.raises(ResearchError, match="others than its owner") as caught:
        service.any_known()
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    assert service.identify(secret) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tokens": [{}]}', '{"tokens": 1}', "\xff"])
def test_a_damaged_file_opens_nothing(path: Path, text: str) -> None:
    path.write_text(text, "latin-1")
    path.chmod(0o600)
    service = TokenService(TokenFile(path), f"env:read:{GOOD}")
    assert service.identify("anything") is None
    assert service.identify(GOOD) is not None, "those of the environment do not need it"
    with pytest.raises(ResearchError, match="it is damaged"):
        service.listing()
    with pytest.raises(ResearchError, match="it is damaged"):
        service.create("bot", [Scope.READ])
    assert path.read_text("latin-1") == text, "nothing is overwritten"


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "a" * 65, "-a", "ä", "a\n", "a:b"])
def test_names_that_could_be_something_else(service: TokenService, name: str) -> None:
    with pytest.raises(ResearchError, match="cannot name a token"):
        service.create(name, [Scope.READ])


def test_a_name_is_given_once(service: TokenService) -> None:
    service.create("bot", [Scope.READ])
    with pytest.raises(ResearchError, match="already"):
        service.create("bot", [Scope.READ])
    with pytest.raises(ResearchError, match="no token 'other'"):
        service.revoke("other")


def test_tokens_of_the_environment_are_listed_but_not_revoked_here(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JESSE_MCP_HOME", str(path.parent))
    monkeypatch.setenv("JESSE_MCP_TOKENS", f"bot:read+paper:{GOOD} both:read:{'b' * 32}")
    monkeypatch.setenv("COLUMNS", "160")
    kept = TokenService(TokenFile(path))
    _, record = kept.create("both", [Scope.WRITE])
    token.listing()
    table = capsys.readouterr().out
    assert [line.split()[1] for line in table.splitlines() if "read" in line] == ["bot", "both"]
    assert table.count("in JESSE_MCP_TOKENS") == 2
    token.listing(json_=True)
    text = capsys.readouterr().out
    listed = json.loads(text)["tokens"]
    assert [(one["name"], one["source"], one["scopes"]) for one in listed] == [
        ("both", "file", ["write"]),
        ("bot", "environment", ["read", "paper"]),
        ("both", "environment", ["read"]),
    ]
    assert [one["created_at"] for one in listed] == [record.created_at, None, None]
    assert not any(secret in text for secret in (GOOD, "sha256"))
    with pytest.raises(ResearchError, match="bot is a token of JESSE_MCP_TOKENS"):
        token.revoke("bot")
    token.revoke("both")
    assert [one.name for one in kept.listing() if one.revoked_at is not None] == ["both"]


@pytest.mark.parametrize("days", [0, -1, 1e9, float("nan"), float("inf")])
def test_a_life_that_is_none(service: TokenService, days: float) -> None:
    with pytest.raises(ResearchError, match="cannot last"):
        service.create("bot", [Scope.READ], days)


def test_scopes() -> None:
    assert granted([Scope.ADMIN]) == ALL_SCOPES
    for scope in ALL_SCOPES - {Scope.ADMIN}:
        assert granted([scope]) == {scope}, "none but admin includes another"
    assert parse_scopes(["read", "paper"]) == {Scope.READ, Scope.PAPER}
    for names in ([], ["root"], ["read", ""], ["READ"]):
        with pytest.raises(ResearchError):
            parse_scopes(names)


def test_tokens_of_the_environment(path: Path) -> None:
    text = f" a:read:{GOOD}\n b:write+paper:{'h' * 40}:with:colons\t"
    service = TokenService(TokenFile(path), text)
    found = service.identify(GOOD)
    other = service.identify("h" * 40 + ":with:colons")
    assert found is not None
    assert other is not None
    assert (found[0].name, found[0].scopes) == ("token:a", frozenset({Scope.READ}))
    assert (other[0].name, other[0].scopes) == ("token:b", frozenset({Scope.WRITE, Scope.PAPER}))
    assert service.any_usable()
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"bot:{GOOD}",
        f"bot:{GOOD}:read",
        f"{GOOD}!:read:{GOOD}",
        f"bot:{GOOD}:{GOOD}",
        "bot:read:" + "s" * 31,
        f"bot::{GOOD}",
        f"bot:read:{GOOD} bot:write:{GOOD}",
    ],
)
def test_a_mistake_in_the_environment_is_explained_without_it(path: Path, text: str) -> None:
    with pytest.raises(ResearchError) as caught:
        TokenService(TokenFile(path), text)
    error = caught.value
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message.startswith("JESSE_MCP_TOKENS cannot be read")
    assert "ggg" not in str(error.to_dict())
    assert "sss" not in str(error.to_dict())


_ADD_TEN = """
import sys
from contextlib import ExitStack
from pathlib import Path
from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.domain.access import Scope
from jesse_mcp.services.tokens import TokenService
service = TokenService(TokenFile(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
for number in range(10):
    service.create(f"{sys.argv[2]}{number}", [Scope.READ])
"""


def test_processes_that_change_it_at_once_lose_nothing(path: Path) -> None:
    command = [sys.executable, "-c", _ADD_TEN, str(path)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        workers = [
            stack.enter_context(subprocess.Popen([*command, name], stdin=pipe, stdout=pipe)) for name in "ab"
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
        assert [worker.wait(60) for worker in workers] == [0, 0]
    names = {record.name for record in TokenFile(path).records()}
    assert names == {f"{name}{number}" for name in "ab" for number in range(10)}


@given(
    st.builds(
        TokenRecord,
        name=st.text(),
        sha256=st.just("0" * 64),
        scopes=st.tuples(st.sampled_from(Scope)),
        created_at=st.floats(allow_nan=False, allow_infinity=False),
        expires_at=st.none() | st.floats(0, 1e12),
        revoked_at=st.none() | st.floats(0, 1e12),
        last_four=st.text(max_size=4),
    ),
    st.floats(0, 1e12),
)
def test_a_record_survives_and_is_usable_before_both_ends(record: TokenRecord, now: float) -> None:
    assert TokenRecord.model_validate(json.loads(json.dumps(record.model_dump(mode="json")))) == record
    expired = record.expires_at is not None and now >= record.expires_at
    assert record.usable(now) is (record.revoked_at is None and not expired)


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["jesse-mcp", "token", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("JESSE_MCP_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "150")
    assert command(monkeypatch, "list") == 0
    assert not home.exists()
    capsys.readouterr()
    options = ("--scope", "read", "research", "--expires-in-days", "30")
    assert command(monkeypatch, "create", "bot", *options) == 0
    shown = capsys.readouterr()
    secret = shown.out.strip()
    assert secret.startswith("jmcp_")
    assert secret not in shown.err, "standard output has it alone, for a pipe"
    assert "bot: read research, expires 20" in shown.err
    assert f"for servers whose JESSE_MCP_HOME is {home}\n" in shown.err
    assert command(monkeypatch, "list") == 0
    listed = capsys.readouterr().out
    assert secret[-4:] in listed
    assert secret not in listed
    assert command(monkeypatch, "list", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["tokens"]
    assert (entry["name"], entry["scopes"], entry["revoked_at"]) == ("bot", ["read", "research"], None)
    assert "sha256" not in entry
    assert command(monkeypatch, "revoke", "bot") == 0
    assert "is revoked" in capsys.readouterr().out
    assert command(monkeypatch, "revoke", "bot") == 1
    assert "invalid_argument: there is no token 'bot' to revoke" in capsys.readouterr().err
    assert TokenService(TokenFile(home / "tokens.json")).identify(secret) is None

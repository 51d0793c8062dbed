"""The files in deploy/ are what their programs accept, are safe, and agree with the server."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml
from prometheus_client import generate_latest

from debian_programs import Program
from jesse_mcp.adapters.embedded.environment import SUPPORTED_PYTHONS
from jesse_mcp.cli.main import build_app
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.server.calls import FinishedCall
from jesse_mcp.server.http.metrics import Metrics
from jesse_mcp.settings import Settings, variable
from nginx_site import configuration

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OURS = {variable(name) for name in Settings.model_fields}
#: Variables of the other programs in the containers.
THEIRS = {"JESSE_ENV_FILE", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|DATABASE_URL|KEY")


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text("Dockerfile"))
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage, and of those it is made from."""
    found: list[tuple[str, str]] = []
    current = base = ""
    for word, rest in instructions():
        if word == "FROM":
            base, _, current = rest.partition(" AS ")
        if current == name:
            found.append((word, rest))
    base = next(rest.partition(" AS ")[0] for word, rest in found if word == "FROM")
    known = {rest.partition(" AS ")[2] for word, rest in instructions() if word == "FROM"}
    return (stage(base) if base in known else []) + found


def environment_of(name: str) -> dict[str, str]:
    pairs = (pair for word, rest in stage(name) if word == "ENV" for pair in rest.split())
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def is_pinned(image: str) -> bool:
    return re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?", image) is not None


def no_secret(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        assert not SECRET.search(name) or name.endswith("_FILE") or value == "", name


@pytest.mark.parametrize("target", ["server", "jesse"])
def test_no_container_runs_as_root(target: str) -> None:
    users = [rest for word, rest in stage(target) if word == "USER"]
    assert users[-1] == "10001:10001"
    (made,) = (rest for word, rest in instructions() if "useradd" in rest)
    assert "--uid 10001 " in made


def test_what_an_image_is_made_from_is_pinned() -> None:
    stages: set[str] = set()
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            assert base in stages or is_pinned(base), base
            stages.add(name)
    version = re.search(r"^UV_VERSION=(\S+)$", (ROOT / "dev").read_text(), re.MULTILINE)
    assert version is not None
    assert f"uv=={version[1]}" in text("Dockerfile")
    assert "--locked" in text("Dockerfile")
    pythons = set(re.findall(r"FROM python:(\d+\.\d+)\.", text("Dockerfile")))
    assert len(pythons) == 1
    assert pythons <= set(SUPPORTED_PYTHONS)


def test_an_image_holds_what_it_needs_and_no_secret() -> None:
    ignored = text("Dockerfile.dockerignore").splitlines()
    assert "*" in ignored
    for word, rest in instructions():
        assert word in {
            "FROM",
            "ENV",
            "RUN",
            "WORKDIR",
            "COPY",
            "USER",
            "VOLUME",
            "EXPOSE",
            "HEALTHCHECK",
        } | {
            "ENTRYPOINT",
            "CMD",
        }, "ADD fetches, ARG stays in the history"
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored
    for target in ("server", "jesse"):
        no_secret(environment_of(target))


def test_the_server_in_a_container_has_settings_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment_of("server")
    assert {name for name in variables if name.startswith("JESSE")} <= OURS
    for name, value in variables.items():
        if name in OURS:
            monkeypatch.setenv(name, value)
    settings = Settings()
    words = dict(stage("server"))
    assert words["EXPOSE"] == str(settings.port)
    assert words["VOLUME"] == str(settings.home) == "/data"
    entry, command = json.loads(words["ENTRYPOINT"]), json.loads(words["CMD"])
    assert entry == ["jesse-mcp"]
    build_app().parse_args(command, print_error=False, exit_on_error=False)


def test_the_engine_of_an_image_has_a_name_that_stays(tmp_path: Path) -> None:
    """The command of the Dockerfile, on a folder made as `engine install` makes it."""
    (tmp_path / "cache" / "engines" / "abc" / "lib").mkdir(parents=True)
    (tmp_path / "cache" / "engines" / "abc" / "pyvenv.cfg").touch()
    (command,) = (rest.split(" && ")[1] for word, rest in instructions() if "engine install" in rest)
    command = command.replace("/opt/jesse-mcp-cache", f"{tmp_path}/cache").replace("/opt/", f"{tmp_path}/")
    subprocess.run(["sh", "-c", command], check=True)
    assert (tmp_path / "engine").resolve() == tmp_path / "cache" / "engines" / "abc"


def test_compose_agrees_with_the_image() -> None:
    compose = yaml.safe_load(text("compose.yaml"))
    services: dict[str, Any] = compose["services"]
    assert set(services) == {"server", "jesse", "postgres"}
    for name, service in services.items():
        no_secret(service.get("environment", {}))
        assert set(service.get("environment", {})) <= OURS | THEIRS
        assert "no-new-privileges:true" in service["security_opt"]
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert set(service["secrets"]) <= set(compose["secrets"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(
                DEPLOY / "Dockerfile"
            )
            assert stage(service["build"]["target"])
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
            assert any(option.startswith("/tmp:exec") for option in service["tmpfs"])  # noqa: S108
        else:
            assert is_pinned(service["image"])
        assert "healthcheck" in service or "HEALTHCHECK" in dict(stage(service["build"]["target"]))
    assert services["server"]["volumes"] == [f"desk:{environment_of('server')['JESSE_MCP_HOME']}"]
    for service in services.values():
        for secret in service["secrets"]:
            assert f"/run/secrets/{secret}" in service["environment"].values()
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("../secrets/")
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_unit_of_systemd_is_valid_and_confined(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    program = Path(sys.executable).with_name("jesse-mcp")
    unit = tmp_path / "jesse-mcp.service"
    unit.write_text(text("jesse-mcp.service").replace("/opt/jesse-mcp/bin/jesse-mcp", str(program)))
    checked = subprocess.run(
        [analyze, "--man=no", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    scored = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert scored.returncode == 0, scored.stdout[-300:]


def test_a_unit_of_systemd_agrees_with_the_server() -> None:
    unit = text("jesse-mcp.service")
    lines = [line for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    assert values["User"] != "root"
    set_here = [pair.split("=")[0] for pair in values["Environment"].split()]
    assert set(set_here) <= OURS
    assert values["StateDirectory"] == values["CacheDirectory"] == "jesse-mcp"
    command = values["ExecStart"].split()
    assert command[0] == "/opt/jesse-mcp/bin/jesse-mcp"
    build_app().parse_args(command[1:], print_error=False, exit_on_error=False)
    # What would break the engine: it compiles, and asks when processes began.
    assert not {"MemoryDenyWriteExecute", "ProcSubset"} & set(values)


def test_nginx_accepts_the_site(nginx: Program, tmp_path: Path) -> None:
    options = ["-p", str(tmp_path), "-e", "stderr", "-c", str(configuration(tmp_path))]
    command = [str(nginx.path), "-t", *options]
    checked = subprocess.run(command, env=nginx.environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_the_site_has_known_directives_and_fits_the_server(tmp_path: Path) -> None:
    parsed = crossplane.parse(str(configuration(tmp_path)), strict=True, single=False)
    assert parsed["errors"] == []
    blocks = parsed["config"][1]["parsed"]
    upstream, plain, server = blocks
    settings = Settings()
    behind = [(one["directive"], one["args"]) for one in upstream["block"]]
    assert behind == [
        ("server", [f"{settings.host}:{settings.port}"]),
        ("least_conn", []),
        ("keepalive", ["16"]),
    ]
    assert [one["directive"] for one in plain["block"]] == ["listen", "server_name", "return"]
    flat = {one["directive"]: one["args"] for one in server["block"]}
    assert flat["listen"] == ["443", "ssl"]
    assert flat["ssl_protocols"] == ["TLSv1.2", "TLSv1.3"]
    assert flat["client_max_body_size"] == [f"{settings.max_request_bytes // 2**20}m"]
    headers = {
        one["args"][0]: one["args"][1] for one in server["block"] if one["directive"] == "proxy_set_header"
    }
    assert headers["X-Forwarded-For"] == "$remote_addr"
    assert (headers["Host"], headers["X-Forwarded-Proto"]) == ("$host", "$scheme")
    places = {one["args"][-1]: one["block"] for one in server["block"] if one["directive"] == "location"}
    assert set(places) == {"/mcp", "/health", "/"}
    assert [one["args"] for one in places["/"]] == [["404"]]
    stream = {one["directive"]: one["args"] for one in places["/mcp"]}
    assert stream["proxy_buffering"] == ["off"]
    # Headers of a location would replace all of the server's.
    assert not any(
        one["directive"] in {"proxy_set_header", "add_header"} for b in places.values() for one in b
    )
    assert stream["proxy_read_timeout"] == ["15m"]


def test_logs_are_rotated_where_they_are(tmp_path: Path) -> None:
    head, _, body = re.sub(r"^#.*\n", "", text("logrotate"), flags=re.MULTILINE).partition("{")
    assert head.strip() == "/var/lib/jesse-mcp/logs/audit.jsonl"
    directives = [line.split()[0] for line in body.partition("}")[0].strip().splitlines()]
    assert set(directives) <= {"su", "daily", "rotate", "dateext", "compress", "delaycompress"} | {
        "missingok",
        "notifempty",
        "nocreate",
    }
    assert "copytruncate" not in directives, "it loses lines"


def test_logrotate_rotates_and_the_server_goes_on(logrotate: Program, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    (logs / "audit.jsonl").write_text("{}\n")
    rules = text("logrotate").replace("/var/lib/jesse-mcp", str(tmp_path))
    rules = re.sub(r" *su .*\n", "", rules)
    (tmp_path / "rules").write_text(rules)
    (tmp_path / "rules").chmod(0o644)
    command = [str(logrotate.path), "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rules")]
    done = subprocess.run(command, env=logrotate.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (rotated,) = logs.iterdir()
    assert re.fullmatch(r"audit\.jsonl-\d{8}", rotated.name)


def exposed() -> tuple[set[str], set[str]]:
    """Names and labels of everything in /metrics after a call that failed."""
    metrics = Metrics(lambda: {"stored": 1})
    metrics.began("backtest")
    call = FinishedCall("me", None, "req", "backtest", True, {}, "forbidden", 0.0, 1.0, None, None)
    metrics.ended(call)
    metrics._jobs.labels(next(iter(JobState))).set(1)
    metrics._workers.labels("idle").set(1)
    metrics._sessions.labels("running").set(1)
    metrics._alerts.labels("kept").set(1)
    metrics._notices.labels("waiting").set(1)
    lines = [line for line in generate_latest(metrics._registry).decode().splitlines() if line[0] != "#"]
    names = {re.split(r"[{ ]", line)[0] for line in lines}
    return names, set(re.findall(r'(\w+)="', "\n".join(lines)))


def test_every_number_on_the_dashboard_exists() -> None:
    dashboard = json.loads(text("grafana-dashboard.json"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names, labels = exposed()
    used = {name for query in queries for name in re.findall(r"\bjesse_mcp_\w+", query)}
    assert used <= names
    shown = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in used}
    assert shown == {family.name for family in Metrics()._registry.collect()}, "every metric has a panel"
    for query in queries:
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert set(group.split(", ")) <= labels
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    (asked,) = (one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query")
    assert re.findall(r"jesse_mcp_\w+", asked) == ["jesse_mcp_status_known"]


def test_prometheus_asks_where_the_server_answers() -> None:
    (job,) = yaml.safe_load(text("prometheus.yml"))["scrape_configs"]
    settings = Settings()
    assert job["static_configs"] == [{"targets": [f"{settings.host}:{settings.port}"]}]
    assert job["metrics_path"] == "/metrics"
    assert set(job["authorization"]) == {"credentials_file"}
    # With as many questions as it asks, it stays below what a client may ask.
    assert 60 / int(job["scrape_interval"].removesuffix("s")) < settings.rate_limit_requests_per_minute


def test_prometheus_accepts_its_job(promtool: Program, tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    jobs = text("prometheus.yml").replace("/etc/prometheus/jesse-mcp.token", str(tmp_path / "token"))
    (tmp_path / "prometheus.yml").write_text(jobs)
    command = [str(promtool.path), "check", "config", "--lint-fatal", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, env=promtool.environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_kubernetes_runs_it_confined_and_watched() -> None:
    claim, deployment, service = yaml.safe_load_all(text("kubernetes.yaml"))
    assert [one["kind"] for one in (claim, deployment, service)] == [
        "PersistentVolumeClaim",
        "Deployment",
        "Service",
    ]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (user,) = (rest for word, rest in stage("server") if word == "USER")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert is_pinned(container["image"])
    for kind in ("requests", "limits"):
        assert set(container["resources"][kind]) == {"cpu", "memory"}
    for probe, path in (("startup", "/health"), ("liveness", "/health"), ("readiness", "/ready")):
        asked = container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], asked["port"]) == (path, "http")
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings().port
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert set(variables) <= OURS
    no_secret(variables)
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert set(mounts) == {one["name"] for one in pod["volumes"]}
    assert mounts["data"] == environment_of("server")["JESSE_MCP_HOME"]
    assert environment_of("server")["JESSE_MCP_CACHE"].startswith(mounts["scratch"])
    assert variables["JESSE_MCP_TOKENS_FILE"].startswith(mounts["tokens"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels

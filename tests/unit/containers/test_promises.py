"""What the container files promise can be read off them: no root, nothing writable, one pinned set of packages."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILES = ["Dockerfile.api", "Dockerfile.worker"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"migrate", "gateway-config"}
#: Not built here, so that compose has to say as whom they run.
FOREIGN = {"postgres", "redis", "envoy"}


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Returns each instruction and what follows it, comments gone and continued lines joined."""
    text = (ROOT / dockerfile).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in code.splitlines() if line)]


def stages(dockerfile: str) -> list[list[tuple[str, str]]]:
    """Returns the instructions of each stage, its FROM first."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def shipped(dockerfile: str) -> list[dict[str, str]]:
    """Returns what each stage that ends up as an image says; of repeated instructions the last."""
    return [dict(stage) for stage in stages(dockerfile) if "CMD" in dict(stage)]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_every_base_image_is_named_with_a_tag_that_stands(dockerfile: str) -> None:
    defaults = dict(rest.split("=", 1) for name, rest in instructions(dockerfile) if name == "ARG" and "IMAGE" in rest)
    own = {stage[0][1].partition(" AS ")[2] for stage in stages(dockerfile)}
    for stage in stages(dockerfile):
        base = stage[0][1].partition(" AS ")[0]
        if base in own:
            continue
        image, _, tag = defaults[base.strip("${}")].partition(":")
        assert image
        assert tag not in {"", "latest"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_either_builder_will_do(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()
    assert not re.search(r"^#\s*(syntax|escape)\s*=", text, re.MULTILINE)
    assert not re.search(r"--(mount|chmod|link|parents)\b|<<", text)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_run_as_a_number_that_is_not_root(dockerfile: str) -> None:
    assert shipped(dockerfile)
    for image in shipped(dockerfile):
        user = re.fullmatch(r"(\d+):(\d+)", image["USER"])
        assert user is not None
        assert "0" not in user.groups()


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_say_how_they_are_and_take_signals_themselves(dockerfile: str) -> None:
    said = dict(instructions(dockerfile))
    assert said["STOPSIGNAL"] == "SIGTERM"
    for image in shipped(dockerfile):
        assert re.search(r'CMD \["python", ', image["HEALTHCHECK"])
        assert image["CMD"].startswith('["python", ')
        assert "org.opencontainers.image.title" in image["LABEL"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_nothing_is_installed_without_a_hash(dockerfile: str) -> None:
    installs = [rest for name, rest in instructions(dockerfile) if name == "RUN" and " install --no-cache-dir" in rest]
    assert installs
    assert all("--require-hashes --only-binary :all:" in install for install in installs)
    assert sum(
        len(re.findall(r"(?<!-)\bpip ", rest)) for name, rest in instructions(dockerfile) if name == "RUN"
    ) == len(installs)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_version_is_the_project_s(dockerfile: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ("ARG", f"VERSION={project['version']}") in instructions(dockerfile)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_all_that_is_copied_gets_past_the_ignore_file(dockerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for name, rest in instructions(dockerfile):
        if name == "COPY" and "--from" not in rest:
            source = rest.split()[0]
            assert any(each == source or each.startswith(f"{source}/") for each in let_in), source
    assert all((ROOT / each).exists() for each in let_in)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "cap_add" not in service
    assert "network_mode" not in service


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_watched_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert ("build" in service) is not ("healthcheck" in service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_runs_as_root(name: str) -> None:
    if name in FOREIGN:
        assert str(SERVICES[name]["user"]).split(":")[0] not in {"0", "root"}
    else:
        assert "user" not in SERVICES[name]
        assert SERVICES[name]["build"]["dockerfile"] in DOCKERFILES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_no_two_services_build_the_same_name() -> None:
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(built) == len(set(built))


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_foreign_images_are_named_with_a_tag_that_stands(name: str) -> None:
    default = re.fullmatch(r"\$\{[A-Z]+_IMAGE:-([^:}]+):([^}]+)\}", SERVICES[name]["image"])
    assert default is not None
    assert default[2] != "latest"


def test_the_gateway_asks_every_process_of_the_api() -> None:
    environment = SERVICES["api"]["environment"]
    first = int(environment["TASKHUB_BACKEND_ADDRESS"].rpartition(":")[2])
    ports = range(first, first + int(environment["TASKHUB_API_PROCESSES"]))
    assert f"--upstream={','.join(f'api:{port}' for port in ports)}" in SERVICES["gateway-config"]["command"]


def test_secrets_that_are_written_down_say_that_they_are_none() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    defaults = re.findall(r"\$\{TASKHUB_(?:SECRET_KEY|POSTGRES_PASSWORD):-([^}]+)\}", text)
    assert len(defaults) == 3
    assert all(default.startswith("local-only") for default in defaults)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def imported(place: str) -> set[str]:
    """Returns every module that a file, or the files of a folder, import."""
    path = ROOT / place
    trees = [ast.parse(each.read_text()) for each in (path.rglob("*.py") if path.is_dir() else [path])]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize(
    ("dockerfile", "folders"),
    [
        ("Dockerfile.api", ["api_service", "migrations", "deploy/gateway", "shared"]),
        ("Dockerfile.worker", ["worker_service", "shared"]),
    ],
)
def test_an_image_holds_what_its_code_imports(dockerfile: str, folders: list[str]) -> None:
    copied = {rest.split()[1].strip("/") for name, rest in instructions(dockerfile) if name == "COPY"}
    ours = {"api_service", "worker_service", "shared", "migrations", "deploy", "devstack", "client", "taskhub", "buf"}
    needed = {name.split(".")[0] for folder in folders for name in imported(folder)} & ours
    assert needed <= copied


def test_the_mailbox_holds_what_its_code_imports() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    places = [line[1:] for line in ignored if line.startswith("!devstack/")]
    needed = {name.split(".")[1] for place in places for name in imported(place) if name.startswith("devstack.")}
    assert needed <= {Path(place).stem for place in places}

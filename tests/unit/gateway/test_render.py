from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.gateway import contract
from deploy.gateway.__main__ import main
from deploy.gateway.render import render
from deploy.gateway.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REST_ADDRESS", "BACKEND_ADDRESS", "CORS_ORIGINS", "TRUSTED_HOPS"):
        monkeypatch.delenv(f"TASKHUB_{name}", raising=False)


def _rendered(**settings: Any) -> Any:
    return yaml.safe_load(render(Settings(**{"backend_address": "127.0.0.1:50061", **settings})))


def _cluster(**settings: Any) -> Any:
    return _rendered(**settings)["static_resources"]["clusters"][0]


def _manager(**settings: Any) -> Any:
    listener = _rendered(**settings)["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_every_process_is_an_endpoint_of_its_own() -> None:
    cluster = _cluster(backend_address="127.0.0.1:1, [::1]:2")
    endpoints = [
        endpoint["endpoint"]["address"]["socket_address"]
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    assert endpoints == [{"address": "127.0.0.1", "port_value": 1}, {"address": "::1", "port_value": 2}]
    assert cluster["type"] == "STATIC"


def test_a_name_is_resolved_again_and_again() -> None:
    assert _cluster(backend_address="api:50061")["type"] == "STRICT_DNS"


def test_nothing_of_envoy_can_be_administered() -> None:
    assert "admin" not in _rendered()


def test_pages_of_other_origins_may_not_call_by_default() -> None:
    names = [each["name"] for each in _manager()["http_filters"]]
    assert "envoy.filters.http.cors" not in names
    assert "envoy.filters.http.cors" in [
        each["name"] for each in _manager(cors_origins="https://a.example")["http_filters"]
    ]


def test_hops_are_trusted_when_they_are_said_to_exist() -> None:
    assert (_manager()["xff_num_trusted_hops"], _manager(trusted_hops=2)["xff_num_trusted_hops"]) == (0, 2)


def test_every_service_of_the_contract_is_served() -> None:
    transcoder = next(each for each in _manager()["http_filters"] if each["name"] == "transcoder")["typed_config"]
    assert transcoder["services"] == [service.full_name for service in contract.services()]
    assert "taskhub.v1.TaskService" in transcoder["services"]


def test_flags_go_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKHUB_REST_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("TASKHUB_BACKEND_ADDRESS", "127.0.0.1:2")
    out = tmp_path / "made" / "envoy.yaml"
    assert main(["--listen", "0.0.0.0:3", "--output", str(out)]) == 0
    text = out.read_text()
    assert '{address: "0.0.0.0", port_value: 3}' in text
    assert '{address: "127.0.0.1", port_value: 2}' in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "TASKHUB_BACKEND_ADDRESS Field required"),
        (["--upstream", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["--upstream", "a:1", "--listen", "a:99999"], "TASKHUB_REST_ADDRESS"),
        (["--upstream", "a:1", "--trusted-hops", "-1"], "TASKHUB_TRUSTED_HOPS"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main([*arguments, "--output", "-"]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1

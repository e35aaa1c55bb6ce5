"""The image, the compose file and the settings of a production installation."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

OURS = re.compile(r"AURORA_[A-Z_]+|OTEL_[A-Z_]+|DATABASE_URL|REDIS_URL")
REQUIRED = ["AURORA_SECRET_KEY", "AURORA_ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL"]
READ_BY_OTHERS = {"PGPASSWORD", "POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_INITDB_ARGS"}
SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|_KEY")


def read_by_settings() -> set[str]:
    """The variables named in calls of `aurora.env`."""
    texts = [(ROOT / path).read_text() for path in ("aurora/settings.py", "aurora/observability/probe.py")]
    return {name for text in texts for name in OURS.findall(text)}


def variables_of(service: str) -> dict[str, str]:
    variables: dict[str, str] = SERVICES[service].get("environment", {})
    return variables


def production(tmp_path: Path, **changes: str) -> dict[str, str]:
    """A whole production environment, without what this test run itself was given."""
    kept = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
    return {
        **kept,
        "AURORA_ENV": "production",
        "AURORA_DATA_DIR": str(tmp_path),
        "AURORA_SECRET_KEY": secrets.token_urlsafe(64),
        "AURORA_ALLOWED_HOSTS": "soc.example.org",
        "DATABASE_URL": "postgresql://aurora@127.0.0.1:1/aurora",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        **changes,
    }


def manage(*arguments: str, environment: dict[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("proxies", ["", "10.0.0.0/8"], ids=["no proxy", "a proxy"])
def test_production_settings_pass_djangos_deployment_checks(proxies, tmp_path):
    environment = production(tmp_path, AURORA_TRUSTED_PROXIES=proxies)
    done = manage("check", "--deploy", "--fail-level", "DEBUG", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", REQUIRED)
def test_production_refuses_to_start_without(name, tmp_path):
    done = manage("check", environment=production(tmp_path, **{name: ""}))
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].endswith(f"AURORA_ENV=production needs {name}")


def test_production_refuses_a_short_key(tmp_path):
    done = manage("check", environment=production(tmp_path, AURORA_SECRET_KEY="x" * 49))
    assert "AURORA_SECRET_KEY must have at least 50 characters" in done.stderr


def test_the_images_static_files_can_be_collected(tmp_path):
    # A copy: the files land beside the code, which belongs to whoever runs the tests. Nothing but what the image gets.
    for name in [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / "app" / name)
    done = manage("collectstatic", "--no-input", environment=production(tmp_path), folder=tmp_path / "app")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "app" / "staticfiles" / "staticfiles.json").exists()


def test_nothing_secret_is_written_into_the_compose_file():
    for service in SERVICES:
        for name, value in variables_of(service).items():
            if SECRET_NAME.search(name):
                assert re.fullmatch(r"\$\{[A-Z_]+:(\?.+|-)\}", value), f"{service}: {name}"


def test_nothing_secret_is_written_into_the_image():
    for line in DOCKERFILE.splitlines():
        for name, value in re.findall(r'\b(\w+)=("[^"]*"|\S+)', line):
            assert not SECRET_NAME.search(name) or value.startswith('"$('), line


def test_the_example_gives_every_variable_that_must_be_set():
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text()))
    given = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert required <= given


def test_the_example_holds_no_secret():
    example = (ROOT / ".env.example").read_text()
    assert not re.search(r"^\w*(SECRET|PASSWORD|KEY)\w*=.+", example, re.MULTILINE)


def test_every_variable_is_one_that_somebody_reads():
    used = {name for service in SERVICES for name in variables_of(service)}
    assert used <= read_by_settings() | READ_BY_OTHERS
    assert set(OURS.findall(DOCKERFILE)) <= read_by_settings()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_health_check_or_ends_by_itself(service):
    definition = SERVICES[service]
    if definition["restart"] == "no":
        assert definition["healthcheck"] == {"disable": True}
    else:
        assert definition["healthcheck"]["test"][0] == "CMD"
        assert definition["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(service):
    definition = SERVICES[service]
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in definition["security_opt"]


def test_only_web_is_published_and_only_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in published["web"])
    assert COMPOSE["networks"]["inner"] == {"internal": True}


def test_web_and_workers_wait_for_the_migrations():
    for service in ("web", "workers", "spool"):
        condition = SERVICES[service]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_spool_is_drained_where_web_fills_it():
    assert "aurora:/var/lib/aurora" in SERVICES["web"]["volumes"]
    assert SERVICES["spool"]["volumes"] == ["aurora:/var/lib/aurora"]
    assert SERVICES["spool"]["command"][-2:] == ["work", "spool"]


def test_workers_read_the_evidence_that_web_takes_in():
    for service in ("web", "workers"):
        assert "evidence:/var/lib/evidence" in SERVICES[service]["volumes"]
    assert "AURORA_EVIDENCE_DIR=/var/lib/evidence" in DOCKERFILE


def test_workers_can_be_scaled():
    assert not {"container_name", "ports"} & set(SERVICES["workers"])


def test_redis_keeps_what_it_was_given():
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_the_image_runs_as_an_ordinary_user_and_without_a_shell():
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rstrip().splitlines()[-1] == 'CMD ["python", "manage.py", "serve"]'
    assert "--require-hashes" in DOCKERFILE

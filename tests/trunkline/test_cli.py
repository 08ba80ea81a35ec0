"""What the command says when it is asked for something it cannot do, and the token it prints."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chassis.auth.claims import DEVICES, Trust
from chassis.auth.dependencies import Auth
from chassis.auth.jwks import Keys
from trunkline.cli import commands
from trunkline.instance import Instance, write_state
from trunkline.paths import CannotStart
from trunkline.provisioning import write_files


def run(*arguments: str) -> str:
    """Run the command in this process; a refusal is raised."""
    result = CliRunner().invoke(commands, arguments)
    if isinstance(result.exception, CannotStart):
        raise result.exception
    return result.stdout


async def test_it_prints_only_the_token_and_the_services_take_it(tmp_path: Path) -> None:
    write_files(Instance(tmp_path))
    said = run("token", "--role=operator", "--subject=anna", f"--data={tmp_path}")
    who = await Auth(Keys((tmp_path / "jwks.json").as_uri())).identify(said.strip())

    assert said.count("\n") == 1
    assert who.subject == "anna"
    assert who.roles == {"operator"}


async def test_token_names_issuer_and_audience_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(Instance(tmp_path))
    monkeypatch.setenv("JWT_ISSUER", "https://id.test/")
    monkeypatch.setenv("JWT_AUDIENCE", "desk")
    trust = Trust("https://id.test/", "desk")
    said = run("token", "--role=operator", "--subject=anna", f"--data={tmp_path}")
    words = ("--account=shop", "--contact=c-7", "--key=thumb", f"--data={tmp_path}")
    device = run("device-token", *words)
    known = Auth(Keys((tmp_path / "jwks.json").as_uri()), trust)

    assert (await known.identify(said.strip())).subject == "anna"
    assert (await known.claims(device.strip(), DEVICES))["sub"] == "c-7"


async def test_a_device_gets_a_token_of_its_own(tmp_path: Path) -> None:
    write_files(Instance(tmp_path))
    words = ("--account=shop", "--contact=c-7", "--key=thumb", f"--data={tmp_path}")
    auth = Auth(Keys((tmp_path / "jwks.json").as_uri()))

    claims = await auth.claims(run("device-token", *words).strip(), DEVICES)

    assert (claims["client_id"], claims["sub"], claims["cnf"]) == ("shop", "c-7", {"jkt": "thumb"})
    with pytest.raises(CannotStart, match="at most 15 minutes"):
        run("device-token", *words, "--ttl=901")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ("status", r"^no instance runs in .*$"),
        ("audit", r"^no instance was ever started in .*$"),
        ("token --role=operator --subject=anna", r"^.* holds no key: run .*$"),
        (
            "token --role=boss --subject=anna",
            r"^there is no role 'boss': it is .*$",
        ),
        ("device-token --account=shop --contact=c-7 --key=k", r"^.* holds no key: run .*$"),
        ("serve everything", r"^there is no service 'everything': it is one of ingest, .*$"),
        ("serve sla", r"^SERVICE_DATABASE_URL is not set, and .* has no password for role sla$"),
        ("up --port-base 65535", r"^--port-base 65535 is not between 1 and 65503$"),
        (
            "up --replicas sink=2",
            r"^--replicas sink=2: expected SERVICE=NUMBER, .* ingest, .*$",
        ),
        ("provision", r"^NATS does not answer at http://127.0.0.1:1023/jsz: .*$"),
        ("apply nowhere.yaml", r"^no instance was ever started in .*$"),
    ],
)
def test_a_refusal_is_one_clear_line(
    arguments: str, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVICE_DATABASE_URL", raising=False)
    if arguments == "provision":
        arguments += " --port-base 1000"
    with pytest.raises(CannotStart, match=refusal) as told:
        run(*arguments.split(), f"--data={tmp_path}")

    assert "\n" not in str(told.value)


def test_nothing_runs_once_the_supervisor_is_gone(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    write_state(tmp_path, {"base": 9000, "supervisor": 1})

    assert run("down", f"--data={tmp_path}").startswith("no instance runs in ")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_only_who_holds_the_folder_is_told_to_stop(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """What is written may be of an instance that ended; its number is somebody else's by now."""
    write_state(tmp_path, {"base": 9000, "supervisor": stranger.pid})
    (tmp_path / "lock").write_text(f"{stranger.pid}\n")
    assert run("down", f"--data={tmp_path}").startswith("no instance runs in ")

    holding = (
        "import pathlib, sys, time\n"
        "from trunkline.instance import Instance\n"
        "with Instance(pathlib.Path(sys.argv[1]), 9000).locked():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, tmp_path], stdout=subprocess.PIPE
    ) as instance:
        assert instance.stdout is not None
        assert instance.stdout.readline() == b"held\n"
        with pytest.raises(CannotStart, match=r"^the instance in .* is starting; try"):
            run("status", f"--data={tmp_path}")
        with pytest.raises(CannotStart, match=rf"already \(pid {instance.pid}\)$"):
            run("up", f"--data={tmp_path}")
        run("down", f"--data={tmp_path}")
        assert instance.wait(10) == -signal.SIGTERM
    assert stranger.poll() is None


def test_files_are_written_for_servers_elsewhere(tmp_path: Path) -> None:
    said = run("provision", "--files", f"--data={tmp_path}", "--port-base=4200")

    assert Path(said.strip()) == tmp_path / "nats.conf"
    assert "sync_interval" in (tmp_path / "nats.conf").read_text()
    assert {file.name for file in tmp_path.iterdir()} >= {"creds", "jwks.json", "secrets.env"}
    assert json.loads((tmp_path / "jwks.json").read_text())["keys"]

"""The embedded servers: stale files, left-over processes, two installations, the starter's death."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from aurora.embedded import drills, group, locations, servers
from aurora.embedded.group import AlreadyRunning, Child, Group
from aurora.embedded.servers import Postgres, Redis
from aurora.identity import accounts
from aurora.management.commands import up
from tests.group import ROOT, free_port
from tests.waiting import until

QUICK = {"fsync": "off"}


def _servers(folder: Path) -> list[Postgres | Redis]:
    sockets = locations.socket_dir(folder)
    return [Postgres(folder / "postgres", sockets, QUICK), Redis(folder / "redis", sockets)]


@pytest.fixture
def installation(tmp_path):
    started = _servers(tmp_path / "data")
    yield started
    for server in started:
        server.stop()


def _is_alive(pid: int) -> bool:
    try:
        return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0]
    except OSError:
        return False


def test_a_crashed_server_starts_again_with_what_was_kept(installation):
    postgres, embedded_redis = installation
    for server in installation:
        server.start()
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    client = redis.Redis(unix_socket_path=str(embedded_redis.socket))
    client.xadd("aurora:alerts", {"a": 1})
    client.execute_command("BGREWRITEAOF")
    for server in installation:
        server.process.kill()
        server.process.wait()
        server.start()
    with psycopg.connect(postgres.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert redis.Redis(unix_socket_path=str(embedded_redis.socket)).xlen("aurora:alerts") == 1


def test_a_pid_file_that_names_somebody_else_is_no_obstacle(installation):
    postgres = installation[0]
    postgres.start()
    postgres.stop()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n")
    postgres.start()
    assert postgres.answers()


def test_a_server_left_by_a_crash_is_ended_first(installation):
    first, second = installation[0], Postgres(installation[0].directory, installation[0].sockets, QUICK)
    first.start()
    left = first.process.pid
    second.start()
    assert not _is_alive(left) or first.process.poll() is not None
    assert second.answers()
    second.stop()


def test_a_copy_of_a_running_installation_leaves_the_original_alone(tmp_path):
    """The pid files in the copy name the original's servers, whose paths here end as those of the copy do."""
    copied = tmp_path / "data"
    original = Path(f"{tmp_path}/mnt{copied}")
    (first, _), (second, _) = _servers(original), _servers(copied)
    try:
        first.start()
        shutil.copytree(first.directory, second.directory)
        assert first.process is not None
        assert str(copied / "postgres") in " ".join(psutil.Process(first.process.pid).cmdline())
        second.start()
        assert first.answers()
        assert second.answers()
    finally:
        for server in (first, second):
            server.stop()


def test_two_installations_do_not_meet(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    both = [Redis(folder / "redis", locations.socket_dir(folder)) for folder in folders]
    try:
        for number, server in enumerate(both):
            server.start()
            redis.Redis(unix_socket_path=str(server.socket)).set("who", number)
        found = [redis.Redis(unix_socket_path=str(server.socket)).get("who") for server in both]
        assert found == [b"0", b"1"]
    finally:
        for server in both:
            server.stop()


def test_a_path_too_long_for_a_socket_moves_the_sockets(tmp_path):
    deep = tmp_path / ("d" * 120)
    assert locations.socket_dir(deep).parent != deep
    assert locations.socket_dir(tmp_path / "a" / ("d" * 120)) != locations.socket_dir(deep)


def test_the_servers_die_with_their_starter(tmp_path):
    script = f"""
        from pathlib import Path
        import time
        from aurora.embedded.servers import Redis
        server = Redis(Path({str(tmp_path)!r}) / "redis", Path({str(tmp_path)!r}) / "run")
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(60)
    """
    starter = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(next(line for line in starter.stdout if line.strip().isdigit()))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until(lambda: not _is_alive(pid))


def test_a_data_directory_may_have_any_name(tmp_path):
    started = _servers(tmp_path / "my data, 100% 'mine'")
    try:
        for server in started:
            server.start()
        with psycopg.connect(locations.database_url(tmp_path / "my data, 100% 'mine'")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert redis.Redis.from_url(locations.redis_url(tmp_path / "my data, 100% 'mine'")).ping()
    finally:
        for server in started:
            server.stop()


def test_without_user_namespaces_root_still_has_servers_below_a_folder_that_is_roots_alone(tmp_path, monkeypatch):
    """As in most containers, where a clone lies in /root."""
    monkeypatch.setattr(servers, "_has_user_namespaces", lambda: False)
    (tmp_path / "roots").mkdir(mode=0o700)
    started = _servers(tmp_path / "roots" / "data")
    try:
        for server in started:
            server.start()
            assert server.process is not None
            assert psutil.Process(server.process.pid).uids().real != 0
    finally:
        for server in started:
            server.stop()


def test_a_data_directory_has_one_group(tmp_path):
    with group.lock(tmp_path), pytest.raises(AlreadyRunning, match=str(os.getpid())):
        group.lock(tmp_path)


def test_a_child_that_dies_is_started_again_and_all_stop_on_request(tmp_path):
    child = Child("sleeper", ["-c", "import time; time.sleep(60)"])
    running = Group([], [child], tmp_path)
    running.start_children()
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    child.process.wait()
    running._look_after(child)
    assert child.process.pid != first
    running.stop()
    assert not child.is_running()


def test_a_child_that_cannot_be_started_again_now_ends_nobody_else(tmp_path):
    sleeper, refused = Child("sleeper", ["-c", "import time; time.sleep(60)"]), Child("refused", ["x" * 3_000_000])
    running = Group([], [sleeper, refused], tmp_path)
    sleeper.spawn()
    running.look_after_all()
    assert sleeper.is_running()
    running.stop()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"AURORA_DATA_DIR": __file__}, "AURORA_DATA_DIR"),
        ({"AURORA_DATA_DIR": "/dev/null/x"}, "AURORA_DATA_DIR"),
        ({"AURORA_PORT": "70000"}, "AURORA_PORT"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/aurora"}, "PostgreSQL does not answer"),
    ],
)
def test_a_start_that_cannot_succeed_says_why_in_one_line(environment, complaint, tmp_path):
    defaults = {"AURORA_DATA_DIR": str(tmp_path), "AURORA_PORT": str(free_port()), "AURORA_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=os.environ | defaults | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1
    assert len(said) == 1, done.stderr
    assert complaint in said[0]


def test_a_group_asked_to_stop_starts_nothing_more(installation, tmp_path):
    child = Child("sleeper", ["-c", "import time; time.sleep(60)"])
    running = Group(installation, [child], tmp_path)
    running.ask_to_stop()
    running.start_servers()
    running.start_children()
    assert not any(part.is_running() for part in (*installation, child))


def test_a_child_that_dies_before_the_first_answer_is_looked_after():
    class Impatient(Group):
        looks = 0

        def look_after_all(self) -> None:
            self.looks += 1
            if self.looks == 3:
                self.ask_to_stop()

    running = Impatient([], [], Path())
    assert not up._wait_until_ready(running)
    assert running.looks == 3


def test_ctrl_c_does_not_reach_the_making_of_a_cluster(tmp_path):
    """It is sent to the whole group of processes; the supervisor takes it, and the server it starts is made to the end."""
    script = f"""
        import signal
        from pathlib import Path
        from aurora.embedded.servers import Postgres
        signal.signal(signal.SIGINT, lambda *_: None)
        server = Postgres(Path({str(tmp_path)!r}) / "postgres", Path({str(tmp_path)!r}) / "run", {QUICK!r})
        server.start()
        print(server.answers())
        server.stop()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as starter:
        until((tmp_path / "postgres" / "data.new" / "base").exists, 20, every=0.005)
        os.killpg(starter.pid, signal.SIGINT)
        said, _ = starter.communicate(timeout=30)
    assert said.split()[-1] == "True"


@pytest.mark.parametrize(("command", "is_silent"), [("up", "True"), ("work", "True"), ("ingest", "False")])
def test_ctrl_c_in_the_middle_of_importing_ends_a_process_of_the_group_without_a_traceback(command, is_silent):
    script = """
        import signal, sys
        import django.core.management
        import manage
        django.core.management.execute_from_command_line = lambda argv: print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)
        manage.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == is_silent


@pytest.mark.django_db
def test_a_first_start_that_is_cut_short_leaves_no_admin_whose_password_nobody_saw(monkeypatch):
    def cut_short(*_arguments, **_options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(up, "call_command", cut_short)
    with pytest.raises(KeyboardInterrupt):
        up._prepare()
    assert not accounts.has_admin()


def test_a_server_under_a_drill_stays_down_until_its_end(installation, tmp_path):
    embedded_redis = installation[1]
    embedded_redis.start()
    running = Group([embedded_redis], [], tmp_path)
    with drills.held_down(tmp_path, "redis"):
        embedded_redis.process.kill()
        embedded_redis.process.wait()
        running.look_after_all()
        assert not embedded_redis.is_running()
    running.look_after_all()
    assert embedded_redis.is_running()


def test_a_drill_that_is_killed_keeps_nothing_down(tmp_path):
    script = f"""
        import time
        from pathlib import Path
        from aurora.embedded import drills
        with drills.held_down(Path({str(tmp_path)!r}), "redis"):
            print("down", flush=True)
            time.sleep(60)
    """
    drill = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert drill.stdout is not None
    drill.stdout.readline()
    assert drills.is_held_down(tmp_path, "redis")
    with pytest.raises(drills.DrillUnderWay), drills.held_down(tmp_path, "redis"):
        pass
    drill.kill()
    drill.wait()
    drill.stdout.close()
    assert not drills.is_held_down(tmp_path, "redis")
    with drills.held_down(tmp_path, "redis"):
        pass

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import psycopg
import pytest
import redis

from compliance.embedded.folder import EmbeddedError
from compliance.embedded.processes import lives
from tests.compliance.embedded.conftest import PROJECT, kill_everything, none_lives
from tests.servers import services

pytestmark = pytest.mark.processes


def query(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def redis_client(url):
    return redis.Redis.from_url(url, decode_responses=True)


def begin_services(start, folder, mode="--keep", **options):
    process = start("-m", "tests.compliance.embedded.serve", folder, mode, **options)
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, json.loads(line)


def write_something(environment):
    query(environment["DATABASE_OWNER_URL"], "CREATE TABLE kept AS SELECT 42 AS answer")
    with redis_client(environment["REDIS_URL"]) as client:
        client.rpush("queue", "task")


def assert_kept(environment):
    assert query(environment["DATABASE_OWNER_URL"], "SELECT answer FROM kept") == [(42,)]


def test_data_persist_over_a_restart(folder):
    with services(folder) as first:
        write_something(first.environment())
    with services(folder) as second:
        assert_kept(second.environment())
        with redis_client(second.redis.url) as client:
            assert client.lrange("queue", 0, -1) == ["task"]


def test_sigkill_of_everything_does_not_block_the_next_start(folder, start):
    process, environment = begin_services(start, folder, "--durable")
    write_something(environment)
    kill_everything(process)
    assert (folder / "postgres" / "postmaster.pid").exists() or (folder / "postgres-folder").exists()
    with services(folder, durable=False) as again:
        assert_kept(again.environment())


def test_servers_end_when_their_supervisor_is_killed(folder, start):
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent died")
    process, _ = begin_services(start, folder)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.kill()
    assert none_lives(children)


UNTETHERED = """
import os, sys
from compliance.embedded.processes import Program
spawn = Program.spawn
Program.spawn = lambda *arguments, **options: spawn(*arguments, **{**options, "death_signal": 0})
from tests.servers import services
with services(sys.argv[1], durable=False, keep=True) as running:
    print(running.postgres.process.pid, running.redis.process.pid, flush=True)
    os._exit(9)
"""


def test_servers_that_outlived_their_supervisor_are_stopped_by_the_next_start(folder, start):
    process = start("-c", UNTETHERED, folder)
    orphans = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    process.wait(10)
    assert len(orphans) == 2
    with services(folder, durable=False, keep=True) as running:
        assert not any(lives(orphan) for orphan in orphans)
        assert query(running.postgres.app_url, "SELECT 1") == [(1,)]


def test_a_stale_pid_file_that_names_a_foreign_process_is_no_obstacle(folder):
    with services(folder, durable=False, keep=True) as first:
        data = first.postgres.home.data
    (data / "postmaster.pid").write_text(f"{os.getppid()}\n{data}\n1\n5432\n\n127.0.0.1\n")
    shutil.chown(data / "postmaster.pid", data.stat().st_uid, data.stat().st_gid)
    with services(folder, durable=False, keep=True) as second:
        assert query(second.postgres.app_url, "SELECT 1") == [(1,)]


def test_an_interrupted_first_start_is_repeated_from_the_beginning(folder):
    with services(folder, durable=False, keep=True) as first:
        data = first.postgres.home.data
    (data / "PG_VERSION").rename(data / "elsewhere")
    shutil.rmtree(data)
    (data / "new" / "base").mkdir(parents=True)
    with services(folder, durable=False, keep=True) as second:
        assert query(second.postgres.app_url, "SELECT 1") == [(1,)]


def test_a_second_one_in_the_same_folder_is_refused(folder):
    with services(folder, durable=False), pytest.raises(EmbeddedError, match=str(os.getpid())), services(folder):
        pass


def test_a_program_with_servers_stops_when_its_input_ends(folder, start):
    process, _ = begin_services(start, folder)
    family = psutil.Process(process.pid).children(recursive=True)
    assert {"postgres", "redis-server"} <= {member.name() for member in family}
    process.stdin.close()
    assert process.wait(15) == 0
    assert not any(lives(member) for member in family)


def test_a_program_with_servers_stops_at_sigterm(folder, start):
    process, _ = begin_services(start, folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


def test_no_password_is_in_a_log_or_among_arguments_and_the_key_file_is_private(folder):
    with services(folder, durable=False, keep=True) as running:
        passwords = json.loads((folder / "keys.json").read_text()).values()
        logs = "".join(path.read_text() for path in (folder / "log").iterdir())
        arguments = [psutil.Process(server.process.pid).cmdline() for server in (running.postgres, running.redis)]
        assert len(list(passwords)) == 4
        for password in passwords:
            assert password not in logs
            assert password not in str(arguments)
        assert (folder / "keys.json").stat().st_mode & 0o777 == 0o600
        assert (folder / "redis" / "redis.conf").stat().st_mode & 0o777 == 0o600


def test_redis_wants_the_password_and_refuses_dangerous_commands(servers):
    with redis.Redis(port=servers.redis.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis_client(servers.redis.url) as client, pytest.raises(redis.ResponseError):
        client.config_get("*")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_the_servers_as_that_user(folder, start):
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    probe = [sys.executable, "-c", "import tests.servers"]
    if subprocess.run([*become, *probe], cwd=PROJECT, capture_output=True).returncode:
        # The interpreter is below a closed folder: let the test's user read everything, and write nothing more.
        become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        if subprocess.run([*become, *probe], cwd=PROJECT, capture_output=True).returncode:
            pytest.skip("no other user can run this Python")
    process, environment = begin_services(start, folder, prefix=become)
    write_something(environment)
    assert (folder / "postgres").stat().st_uid == 65534
    assert {child.uids().real for child in psutil.Process(process.pid).children()} == {65534}


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL has a user of its own only when root starts it")
def test_root_starts_postgres_as_its_own_user_even_below_a_closed_folder(folder):
    folder.mkdir()
    folder.parent.chmod(0o700)
    with services(folder, durable=False) as running:
        home = running.postgres.home
        assert not home.data.is_relative_to(folder)
        assert psutil.Process(running.postgres.process.pid).uids().real == home.user.pw_uid != 0
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert not home.data.exists()


def test_nothing_in_there_imports_django():
    code = "import sys, compliance.embedded.__main__, tests.servers; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0

"""Real servers with their own clients, moved again and again under load: not one error may be seen. The clients never
connect anew; a load that ends before the moves do is begun again. And an Open MPI job over TCP between containers on
three hosts, one of which moves."""

import contextlib
import dataclasses
import pathlib
import re
import subprocess
import tempfile

from tests.support import container as containers
from tests.support import table
from tests.support.lab import CLIENT, LabError
from tests.support.migration import migrate
from tests.support.paths import BUILD

from .evaluation import postgresql
from .evaluation.programs import WorkloadFailed
from .memory_common import BenchError, median, other_node, quantile
from .peers_mpi import mpi_job
from .peers_ssh import LOGIN, Session, add_account, make_keys, sshd_script, with_capabilities

TITLE = "real servers and clients, moved under load without an error"
REPEAT = 20
HOSTS = 3  # for the MPI job
SECONDS = 15  # of one load


class Load:
    """A client program on the client's host, in the servers' root file system."""

    def __init__(self, lab, root, command, wrong=r"(?i)error|reset|refused|broken"):
        self._wrong = wrong
        inside = ["unshare", "--mount", "sh", "-c",
                  'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', root]
        self._process = lab.popen(CLIENT, *inside, *command, text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def goes_on(self):
        return self._process.poll() is None

    def finish(self):
        """Waits for its end; BenchError unless it is content."""
        said, _ = self._process.communicate(timeout=120)
        if self._process.returncode != 0 or (found := re.search(self._wrong, said)):
            where = said[-400:] if self._process.returncode else said[max(0, found.start() - 200):found.end() + 200]
            raise BenchError(f"the client ended with status {self._process.returncode}: {where}")
        return said


@dataclasses.dataclass
class Peer:
    name: str
    port: int
    server: list
    client: list  # "{address}", "{seconds}" are replaced
    wrong: str = r"(?i)error|reset|refused|broken"
    capabilities: list = ()
    options: list = ()  # of tools/bundle

    def move_under_load(self, lab, moves, say):
        """The reports of the moves."""
        root = _rootfs("peers")
        with contextlib.ExitStack() as stack:
            container = _started(lab, stack, self, root)
            reports = []
            while len(reports) < moves:
                words = [word.format(address=container.address, seconds=SECONDS) for word in self.client]
                with Load(lab, root, words, self.wrong) as load:
                    while load.goes_on() and len(reports) < moves:
                        reports.append(moved(lab, container))
                        say(f"{self.name}: {len(reports)}/{moves}: downtime {reports[-1]['downtime_ms']:.1f} ms")
                    load.finish()
            return reports


class PostgresPeer(Peer):
    """pgbench goes on by itself, and the books must balance in the end."""

    def move_under_load(self, lab, moves, say):
        root, parameters = _rootfs("postgresql"), {"buffers_mib": 16, "connections": 8, "scale": 1, "rate": 200}
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
            directory.chmod(0o755)
            postgresql.prepare(directory, root)
            self.options = ["--bind", f"{directory / 'data'}:/data"]
            self.server = postgresql.server_command("10.99.2.71", parameters)
            container = _started(lab, stack, self, root, postgresql.run_as_its_user, await_port=False)
            load = postgresql.Load(lab, root, directory, container.address, parameters)
            stack.callback(load.close)
            reports = []
            for _ in range(moves):
                load.begin()
                reports.append(moved(lab, container))
                load.end()
                say(f"{self.name}: {len(reports)}/{moves}: downtime {reports[-1]['downtime_ms']:.1f} ms")
            load.close()
            load.check()
            return reports


NGINX = ("daemon off; user root; worker_processes 2; error_log stderr; pid /tmp/nginx.pid; "
         "events { worker_connections 512; } http { access_log off; keepalive_requests 100000000; "
         "client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; "
         "scgi_temp_path /tmp/s; server { listen 80; location / { return 200 \"hello\"; } } }")

PEERS = [
    Peer("redis-benchmark", 6379, ["redis-server", "--bind", "0.0.0.0", "--save", "", "--protected-mode", "no"],
         ["redis-benchmark", "-h", "{address}", "-c", "20", "-n", "300000", "-t", "set,get,incr,lpush", "-q"]),
    Peer("memcached, memcaslap", 11211, ["memcached", "-u", "root", "-l", "0.0.0.0", "-t", "2", "-m", "1024"],
         ["memcaslap", "-s", "{address}:11211", "-T", "2", "-c", "16", "-t", "{seconds}s", "-v", "0.5"],
         wrong=r"(?i)error|reset|refused|verify_(misses|failed): [1-9]"),
    PostgresPeer("PostgreSQL, pgbench", 5432, [], []),
    Peer("nginx, wrk", 80, ["sh", "-c", f"echo '{NGINX}' >/tmp/c && exec nginx -c /tmp/c"],
         ["wrk", "-t2", "-c50", "-d{seconds}s", "http://{address}/"], wrong=r"Socket errors|Non-2xx",
         capabilities=LOGIN),
    Peer("iperf3, up", 5201, ["iperf3", "--server"], ["iperf3", "-c", "{address}", "-t", "{seconds}"]),
    Peer("iperf3, down", 5201, ["iperf3", "--server"], ["iperf3", "-c", "{address}", "-t", "{seconds}", "-R"]),
]


def run(lab, options):
    found = []
    for peer in PEERS:
        found.append(_measured(peer.name, lambda peer=peer: peer.move_under_load(lab, options.repeat, options.say)))
    for name, function in (("ssh session", ssh_session), ("Open MPI, 3 hosts", mpi_job)):
        found.append(_measured(name, lambda function=function: function(lab, options.repeat, options.say)))
    return found


def _measured(name, function):
    """An error is a result: the others are still of interest."""
    try:
        reports = function()
    except (BenchError, LabError, WorkloadFailed, postgresql.LoadFailed, OSError, subprocess.SubprocessError) as failure:
        return {"name": name, "error": str(failure)[:500], "moves": 0, "downtime_ms": []}
    return {"name": name, "error": None, "moves": len(reports),
            "downtime_ms": [report["downtime_ms"] for report in reports]}


def ssh_session(lab, moves, say):
    """A session with a terminal answers after every move."""
    root = _rootfs("peers")
    with contextlib.ExitStack() as stack:
        keys = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
        make_keys(keys)
        add_account(root, "sshd", 998)
        peer = Peer("ssh session", 22, ["sh", "-c", sshd_script()], [], capabilities=LOGIN,
                    options=["--bind", f"{keys}:/keys"])
        container = _started(lab, stack, peer, root)
        session = stack.enter_context(Session(lab, keys / "client", container.address))
        reports = []
        for _ in range(moves):
            session.assert_answers()
            reports.append(moved(lab, container))
            session.assert_answers()
            say(f"ssh session: {len(reports)}/{moves}: downtime {reports[-1]['downtime_ms']:.1f} ms")
        return reports


def moved(lab, container, target=None):
    result = migrate(lab, container, target or other_node(container.node))
    if not result.migrated:
        raise BenchError(f"godwit migrate: {result.why()} {result.report.get('log')}")
    return result.report


def _rootfs(name):
    return containers._tool_output("rootfs", name)


def _started(lab, stack, peer, root, edit=lambda config: None, await_port=True, node="node1", address="10.99.2.71"):
    def configure(config):
        with_capabilities(peer.capabilities)(config)
        edit(config)

    lab.exec(CLIENT, "ip", "neighbour", "flush", "all")  # of containers that are gone
    name = re.sub(r"\W+", "-", peer.name)
    container = containers.start(lab, node, name, address, peer.server, rootfs=root, options=peer.options,
                                 edit=configure)
    stack.callback(container.remove, lab)
    if await_port:
        lab.await_port(address, peer.port)
    return container


def show(result):
    rows = [[peer["name"], str(peer["moves"]), table.ms(median(peer["downtime_ms"])) if peer["moves"] else "",
             table.ms(quantile(peer["downtime_ms"], 1)) if peer["moves"] else "", peer["error"] or "none"]
            for peer in result]
    return table.render(rows, ["under load", "moves", "downtime", "longest", "errors"])

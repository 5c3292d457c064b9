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
from tests.support.lab import CLIENT
from tests.support.migration import migrate
from tests.support.paths import BUILD

from .evaluation import postgresql
from .memory_common import BenchError, median, other_node, quantile

TITLE = "real servers and clients, moved under load without an error"
REPEAT = 20
HOSTS = 3  # for the MPI job
SECONDS = 15  # of one load
# What `runc spec` leaves out and an ssh daemon needs to give its sessions a user and a terminal.
LOGIN = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"]


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
    capabilities: tuple = ()
    options: tuple = ()  # of tools/bundle

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


NGINX = ("daemon off; user root; worker_processes 2; error_log /tmp/error.log; pid /tmp/nginx.pid; "
         "events { worker_connections 512; } http { access_log off; keepalive_requests 100000000; "
         "client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; "
         "scgi_temp_path /tmp/s; server { listen 80; location / { return 200 \"hello\"; } } }")
SSHD = ("mkdir -p /run/sshd /tmp/k && ssh-keygen -q -t ed25519 -N '' -f /tmp/k/host && cp /keys/client.pub /tmp/k/allowed"
        " && exec /usr/sbin/sshd -D -e -p 22 -h /tmp/k/host -o AuthorizedKeysFile=/tmp/k/allowed -o StrictModes=no"
        " -o PermitRootLogin=yes -o UsePAM=no -o PidFile=none -o MaxStartups=100")

PEERS = [
    Peer("redis-benchmark", 6379, ["redis-server", "--bind", "0.0.0.0", "--save", "", "--protected-mode", "no"],
         ["redis-benchmark", "-h", "{address}", "-c", "20", "-n", "300000", "-t", "set,get,incr,lpush", "-q"]),
    Peer("memcached, memcaslap", 11211, ["memcached", "-u", "root", "-l", "0.0.0.0", "-t", "2"],
         ["memcaslap", "-s", "{address}:11211", "-T", "2", "-c", "16", "-t", "{seconds}s", "-v", "0.5"],
         wrong=r"(?i)error|reset|refused|verify_(misses|failed): [1-9]"),
    PostgresPeer("PostgreSQL, pgbench", 5432, [], []),
    Peer("nginx, wrk", 80, ["sh", "-c", f"echo '{NGINX}' >/tmp/c && exec nginx -c /tmp/c"],
         ["wrk", "-t2", "-c50", "-d{seconds}s", "http://{address}/"], wrong=r"Socket errors|Non-2xx"),
    Peer("iperf3, up", 5201, ["iperf3", "--server"], ["iperf3", "-c", "{address}", "-t", "{seconds}"]),
    Peer("iperf3, down", 5201, ["iperf3", "--server"], ["iperf3", "-c", "{address}", "-t", "{seconds}", "-R"]),
]


def run(lab, options):
    found = []
    for peer in PEERS:
        found.append(_measured(peer.name, lambda peer=peer: peer.move_under_load(lab, options.repeat, options.say)))
    found.append(_measured("ssh session", lambda: ssh_session(lab, options.repeat, options.say)))
    return found


def _measured(name, function):
    """An error is a result: the others are still of interest."""
    try:
        reports = function()
    except (BenchError, postgresql.LoadFailed, OSError, subprocess.SubprocessError, TimeoutError) as failure:
        return {"name": name, "error": str(failure)[:500], "moves": 0, "downtime_ms": []}
    return {"name": name, "error": None, "moves": len(reports),
            "downtime_ms": [report["downtime_ms"] for report in reports]}


def ssh_session(lab, moves, say):
    """A session with a terminal: each line that is typed comes back with its number, before, while and after it moves."""
    root = _rootfs("peers")
    with contextlib.ExitStack() as stack:
        keys = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "client")], check=True,
                       stdin=subprocess.DEVNULL)
        _add_account(root, "sshd", 998)
        peer = Peer("ssh session", 22, ["sh", "-c", SSHD], [], capabilities=LOGIN, options=["--bind", f"{keys}:/keys"])
        container = _started(lab, stack, peer, root)
        session = stack.enter_context(Session(lab, keys / "client", container.address))
        reports = []
        for _ in range(moves):
            session.assert_answers()
            reports.append(moved(lab, container))
            session.assert_answers()
            say(f"ssh session: {len(reports)}/{moves}: downtime {reports[-1]['downtime_ms']:.1f} ms")
        return reports


class Session:
    def __init__(self, lab, key, address):
        self._count = 0
        self._process = lab.popen(
            CLIENT, "ssh", "-tt", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", f"root@{address}",
            "stty -echo -onlcr; n=0; echo ready; while read line; do n=$((n+1)); echo \"$n $line\"; done",
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while (said := self._process.stdout.readline()) and "ready" not in said:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def assert_answers(self, lines=20):
        for _ in range(lines):
            self._count += 1
            self._process.stdin.write(f"line {self._count}\n")
            self._process.stdin.flush()
            if (said := self._process.stdout.readline().strip()) != f"{self._count} line {self._count}":
                raise BenchError(f"line {self._count} came back as {said!r}")


def moved(lab, container, target=None):
    result = migrate(lab, container, target or other_node(container.node))
    if not result.migrated:
        raise BenchError(f"godwit migrate: {result.why()} {result.report.get('log')}")
    return result.report


def _rootfs(name):
    return containers._tool_output("rootfs", name)


def _add_account(root, name, number):
    passwd = pathlib.Path(root, "etc/passwd")
    if f"\n{name}:" not in (text := passwd.read_text()):
        passwd.write_text(text + f"{name}:x:{number}:{number}::/run/{name}:/bin/false\n")


def _started(lab, stack, peer, root, edit=lambda config: None, await_port=True, node="node1", address="10.99.2.71"):
    def configure(config):
        for kind in ("bounding", "effective", "permitted", "inheritable"):
            held = config["process"]["capabilities"].setdefault(kind, [])
            held += [capability for capability in peer.capabilities if capability not in held]
        edit(config)

    lab.exec(CLIENT, "ip", "neighbour", "flush", "all")  # of containers that are gone
    name = re.sub(r"\W+", "-", peer.name)
    container = containers.start(lab, node, name, address, peer.server, rootfs=root, options=peer.options, edit=configure)
    stack.callback(container.remove, lab)
    if await_port:
        lab.await_port(address, peer.port)
    return container


def show(result):
    rows = [[peer["name"], str(peer["moves"]), table.ms(median(peer["downtime_ms"])) if peer["moves"] else "",
             table.ms(quantile(peer["downtime_ms"], 1)) if peer["moves"] else "", peer["error"] or "none"]
            for peer in result]
    return table.render(rows, ["under load", "moves", "downtime", "longest", "errors"])

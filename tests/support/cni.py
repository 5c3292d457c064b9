"""CNI as a container manager uses it: networks in /run/cni of each node (which is its own), results cached as libcni
does."""

import base64
import json
import subprocess

BIN = "/usr/lib/cni"
ROOT = "/run/cni"
NETWORK = "testnet"
CONTAINER_ID = "0123abcd"


def conflist(main):
    ipam = {"type": "host-local", "dataDir": f"{ROOT}/networks",
            "ranges": [[{"subnet": "10.99.0.0/16", "rangeStart": "10.99.2.100", "rangeEnd": "10.99.2.120"}]]}
    return {"cniVersion": "1.0.0", "name": NETWORK,
            "plugins": [{**main, "ipam": ipam}, {"type": "tuning", "sysctl": {"net.core.somaxconn": "333"}}]}


def configure(lab, node, config):
    directory = lab.root(node) / ROOT.lstrip("/") / "net.d"
    directory.mkdir(parents=True)
    (directory / "10-test.conflist").write_text(json.dumps(config))


def call(lab, node, command, plugin, netns, interface, previous, name, version):
    config = {**plugin, "name": name, "cniVersion": version, **({"prevResult": previous} if previous else {})}
    environment = [f"CNI_COMMAND={command}", f"CNI_CONTAINERID={CONTAINER_ID}", f"CNI_NETNS={netns}",
                   f"CNI_IFNAME={interface}", f"CNI_PATH={BIN}"]
    done = subprocess.run([*lab.prefix(node), "env", *environment, f"{BIN}/{plugin['type']}"], input=json.dumps(config),
                          text=True, capture_output=True)
    assert done.returncode == 0, f"{plugin['type']} {command}: {done.stdout} {done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


def cached(interface):
    return f"{ROOT}/results/{NETWORK}-{CONTAINER_ID}-{interface}"


def add(lab, node, config, netns, interface="eth0"):
    """ADD by all plugins; returns the address without its length."""
    result = None
    for plugin in config["plugins"]:
        result = call(lab, node, "ADD", plugin, netns, interface, result, config["name"], config["cniVersion"])
    path = lab.root(node) / cached(interface).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"kind": "cniCacheV1", "containerId": CONTAINER_ID,
                                "config": base64.b64encode(json.dumps(config).encode()).decode(), "ifName": interface,
                                "networkName": config["name"], "result": result}))
    return result["ips"][0]["address"].split("/")[0]


def delete(lab, node, netns, interface="eth0"):
    """DEL as a manager does it, from what it finds in the cache."""
    path = lab.root(node) / cached(interface).lstrip("/")
    cache = json.loads(path.read_text())
    config = json.loads(base64.b64decode(cache["config"]))
    for plugin in reversed(config["plugins"]):
        call(lab, node, "DEL", plugin, netns, interface, cache["result"], config["name"], config["cniVersion"])
    path.unlink()


def allocated(lab, node):
    """Addresses that host-local has given out there."""
    directory = lab.root(node) / f"{ROOT}/networks/{NETWORK}".lstrip("/")
    return sorted(path.name for path in directory.glob("10.*")) if directory.exists() else []


def results(lab, node):
    directory = lab.root(node) / f"{ROOT}/results".lstrip("/")
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

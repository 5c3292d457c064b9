"""edit_oci_config.py DIR OPTION… -- COMMAND…: turns what `runc spec` wrote into the bundle that tools/bundle describes."""

import argparse
import json
import os
import re


def size(text):
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 64M")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def absolute_pair(text):
    source, colon, destination = text.partition(":")
    if not (source and colon and destination.startswith("/")):
        raise argparse.ArgumentTypeError(f"'{text}' is not SRC:DST")
    return os.path.abspath(source), destination


def key_value(text):
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return key, value


def parse():
    parser = argparse.ArgumentParser(prog="bundle", allow_abbrev=False)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--netns", required=True)
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--memory", type=size)
    parser.add_argument("--bind", type=absolute_pair, action="append", default=[])
    parser.add_argument("--env", type=key_value, action="append", default=[])
    parser.add_argument("--annotation", type=key_value, action="append", default=[])
    parser.add_argument("--hostname")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args()


def tmpfs(destination):
    options = ["nosuid", "nodev", "mode=1777" if destination == "/tmp" else "mode=755"]
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}


def edit(config, wanted):
    process = config["process"]
    process["terminal"] = wanted.terminal
    process["args"] = wanted.command
    process["env"] += [f"{key}={value}" for key, value in wanted.env]
    config["hostname"] = wanted.hostname or os.path.basename(os.path.abspath(wanted.directory))
    config["root"] = {"path": os.path.abspath(wanted.rootfs), "readonly": True}
    config["mounts"] += [tmpfs("/tmp"), tmpfs("/run")]
    config["mounts"] += [
        {"destination": destination, "type": "bind", "source": source, "options": ["bind", "rw"]}
        for source, destination in wanted.bind
    ]
    for namespace in config["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = wanted.netns
    if wanted.memory is not None:
        config["linux"].setdefault("resources", {})["memory"] = {"limit": wanted.memory}
    if wanted.annotation:
        config.setdefault("annotations", {}).update(wanted.annotation)


def main():
    wanted = parse()
    path = os.path.join(wanted.directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    edit(config, wanted)
    with open(path, "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


main()

"""Connections to an agent from a host of the lab, made in this process."""

import ctypes
import os
import socket
import ssl
import threading

from .agent_setup import AUTHORITY, make_certificate

CLONE_NEWNET = 0x40000000


def connect(lab, host, address, port, timeout_s=20):
    """A TCP connection whose end is on HOST: a thread of its own enters that host's network for the time it takes."""
    result = []

    def run():
        try:
            namespace = os.open(f"/proc/{lab.holder(host)}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(namespace)
            result.append(socket.create_connection((address, port), timeout_s))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def tls_context(directory=None, alpn=("h2",)):
    """A client's side of TLS; DIRECTORY has its certificate, None: it has none."""
    context = ssl.create_default_context(cafile=str(AUTHORITY / "ca.crt"))
    context.set_alpn_protocols(list(alpn))
    if directory:
        context.load_cert_chain(directory / "host.crt", directory / "host.key")
    return context


def certificate(directory, name):
    """A certificate of the lab's CA, for whoever claims to be NAME."""
    make_certificate(directory, name, "10.99.0.2")
    return directory


def is_closed(connection):
    """Whether the agent closes the connection, whatever it says before; within the connection's time-out."""
    try:
        while connection.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:  # reset, or a TLS alert
        return True

"""A network of its own for a server, whose packets the kernel drops, refuses or loses as it is told (Linux, root)."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import IPv4Network
from typing import Any, Literal, TypeVar

__all__ = ["Namespace", "why_not"]

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_NETWORKS = IPv4Network("10.203.0.0/16")
_TABLE = """
table inet faults {
    chain coming { type filter hook input priority 0; }
    chain going { type filter hook output priority 0; }
}
"""
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()


@cache
def why_not() -> str:
    """What is missing here, and how to get it; empty if nothing is."""
    if not hasattr(_libc, "setns"):
        return "network namespaces: Linux only"
    if os.geteuid() != 0:
        return "network namespaces: root only, so run the tests as root"
    if missing := [name for name in ("ip", "nft") if not shutil.which(name)]:
        return f"network namespaces: no {' and no '.join(missing)}; apt-get install iproute2 nftables"
    try:
        _in_thread(lambda: _call("unshare", _CLONE_NEWNET))
    except OSError as error:
        return f"network namespaces: {error.strerror}; a container needs --privileged"
    return ""


class Namespace:
    """A network namespace, joined to the machine's own by a veth pair; ``address`` is its end of the pair.

    Whatever ``run`` starts in it is born there and can be reached at that address only. The faults, of all TCP or of
    one port of a server inside, hold until the next one or ``heal``.
    """

    def __init__(self) -> None:
        number = f"{os.getpid()}-{next(_serial)}"
        self.name = f"pgdbpool-{number}"
        self._outer = f"pg-{number}"  # an interface's name has at most 15 characters
        network = _free_network()
        outer, inner = network.hosts()
        self.address = str(inner)
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._outer, "type", "veth", "peer", "name", "inner", "netns", self.name)
            _ip("address", "add", f"{outer}/{network.prefixlen}", "dev", self._outer)
            # A neighbour that is away is known as such in 0.1 s instead of 3 s, and one that is back at the next packet.
            _ip("ntable", "change", "name", "arp_cache", "dev", self._outer, "retrans", "40")
            _ip("link", "set", self._outer, "up")
            self._ip("address", "add", f"{inner}/{network.prefixlen}", "dev", "inner")
            self._ip("link", "set", "lo", "up")
            self._nft(_TABLE)
            self.link_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call it in a thread that is in the namespace, and so are the processes that it starts."""

        def inside() -> T:
            with open(f"/run/netns/{self.name}") as file:
                _call("setns", file.fileno(), _CLONE_NEWNET)
            return function(*args)

        return _in_thread(inside)

    def drop(self, port: int | None = None) -> None:
        """All packets disappear, in both directions."""
        self._rules(f"{_to(port)} drop", f"{_from(port)} drop")

    def reject(self, how: Literal["reset", "icmp"], port: int | None = None) -> None:
        """Packets to the server are answered by RST, or by ICMP's port unreachable."""
        self._rules(f"{_to(port)} reject {'with tcp reset' if how == 'reset' else ''}")

    def lose(self, percent: int, port: int | None = None) -> None:
        """So many packets of a hundred disappear, in each direction."""
        lost = f"numgen random mod 100 < {percent} drop"
        self._rules(f"{_to(port)} {lost}", f"{_from(port)} {lost}")

    def link_down(self) -> None:
        """The cable is pulled, at the server's end."""
        self._ip("link", "set", "inner", "down")

    def link_up(self) -> None:
        self._ip("link", "set", "inner", "up")

    def heal(self) -> None:
        """All as at the beginning."""
        self._rules()
        self.link_up()

    def close(self) -> None:
        """Remove it; what still runs in it runs on, unreachable."""
        for what in (("link", "del", self._outer), ("netns", "del", self.name)):
            subprocess.run(["ip", *what], capture_output=True)  # after an error in between there may be none

    def _ip(self, *args: str) -> None:
        _ip("-n", self.name, *args)

    def _rules(self, coming: str = "", going: str = "") -> None:
        """Exchange all rules at once, for packets to the server and for those from it."""
        lines = ["flush chain inet faults coming", "flush chain inet faults going"]
        lines += [f"add rule inet faults coming {coming}"] if coming else []
        lines += [f"add rule inet faults going {going}"] if going else []
        self._nft("\n".join(lines))

    def _nft(self, script: str) -> None:
        self.run(_command, ["nft", "-f", "-"], script)


def _to(port: int | None) -> str:
    return f"tcp dport {port}" if port else "meta l4proto tcp"


def _from(port: int | None) -> str:
    return f"tcp sport {port}" if port else "meta l4proto tcp"


def _free_network() -> IPv4Network:
    """Two addresses that no interface of this machine is near to."""
    used = {IPv4Network(found, strict=False) for found in re.findall(r"inet (\S+)", _ip("-4", "address", "show"))}
    while True:
        address = int(_NETWORKS.network_address) + 4 * random.randrange(_NETWORKS.num_addresses // 4)
        network = IPv4Network((address, 30))
        if not any(network.overlaps(other) for other in used):
            return network


def _ip(*args: str) -> str:
    return _command(["ip", *args])


def _command(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _in_thread(function: Callable[[], T]) -> T:
    """In a thread of its own, which takes with it into its end what it has done to itself."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def _call(name: str, *args: int) -> None:
    if getattr(_libc, name)(*args):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose image owns /etc/hosts, its name and /etc/resolv.conf, or whose firewall is firewalld.

cloud-init, the DHCP clients, systemd-resolved and firewalld are Debian's own, and what they do is seen before the roles have been
played and after. The tests build on each other, in the order of this file.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine, services
from testnet_lib.plan import Inventory, ipv4

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

HOST = "mail.cloud.test"
MACHINE = Inventory().host(HOST)
ADDRESS = ipv4(MACHINE.number)
#: What the provider's DHCP server and its cloud-init say.
PROVIDER_NAME, PROVIDER_DNS = "provider-name", "192.0.2.53"
MINE = "127.0.1.1 mail.cloud.test mail"
#: Only the modules in question, so that no key of the test is touched.
CLOUD_INIT = {
    "/etc/cloud/cloud.cfg.d/00-test.cfg": {
        "datasource_list": ["NoCloud"], "disable_root": False, "network": {"config": "disabled"},
        "cloud_init_modules": ["set_hostname", "update_hostname", "update_etc_hosts"],
    },
    "/var/lib/cloud/seed/nocloud/meta-data": {"instance-id": "i-1", "local-hostname": PROVIDER_NAME},
    "/var/lib/cloud/seed/nocloud/user-data": {"manage_etc_hosts": True},
    "/var/lib/cloud/seed/nocloud/vendor-data": {"manage_etc_hosts": True},
}  # fmt: skip
#: What asks for an address on the interface `lease`, and what gives it back.
CLIENTS = {
    "dhclient": ("dhclient -1 -q lease", "dhclient -r -q lease"),
    "dhcpcd": ("dhcpcd --oneshot --timeout 20 --noipv6rs --ipv4only lease", "dhcpcd --release lease; true"),
    "NetworkManager": (
        # It goes on running, also while the roles are played.
        "systemctl start NetworkManager && nmcli --wait 30 device connect lease",
        "nmcli device disconnect lease",
    ),
}  # fmt: skip


def on_host(command: str, text: str | None = None) -> str:
    return services.on(MACHINE, command, text=text, timeout=300)


def install(*packages: str) -> None:
    on_host(f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install {' '.join(packages)} >/dev/null 2>&1")


def site(tags: str) -> str:
    """Play these parts of the playbook; return what it said in one line."""
    words = ["ansible-playbook", "-i", str(TESTNET / "inventory.yml"), "-i", str(HERE / "inventory.yml"), "--limit", HOST, "--tags", tags]
    command = [str(TESTNET / "inside"), *words, str(HERE.parents[3] / "playbooks/site.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return " ".join((done.stdout + done.stderr).split())


def boot(clean: str = "") -> None:
    """What cloud-init does when the host starts, or with `clean` when a copy of the host starts for the first time."""
    on_host(f"{clean}cloud-init init --local >/dev/null 2>&1; cloud-init init >/dev/null 2>&1; true")


@contextlib.contextmanager
def leased(client: str):
    """Have an address from the provider for a while."""
    ask, release = CLIENTS[client]
    # NetworkManager is content with an address of IPv6 first; and all have written their files soon after the address is there.
    on_host(f"({ask}) 2>&1 && timeout 30 sh -c 'until ip -4 -o address show dev lease | grep -q 10.77.0; do sleep 0.2; done' && sleep 1")
    try:
        yield
    finally:
        on_host(f"({release}) >/dev/null 2>&1")


def resolvers() -> list[str]:
    lines = on_host("cat /etc/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver")]


@pytest.fixture(scope="module", autouse=True)
def host():
    subprocess.run([TESTNET / "testnet", "destroy", HOST], check=True, capture_output=True)
    subprocess.run([TESTNET / "testnet", "boot", HOST], check=True, capture_output=True)
    on_host("apt-get -qq update")
    install("cloud-init", "dnsmasq-base", "isc-dhcp-client", "dhcpcd-base", "network-manager")
    for path, content in CLOUD_INIT.items():
        text = ("" if path.endswith("cfg") else "#cloud-config\n") + json.dumps(content)
        on_host(f"mkdir -p {path.rpartition('/')[0]} && cat >{path}", text)
    # A DHCP server of its own for this host, in a network of its own.
    on_host(
        "systemctl disable --now NetworkManager && ip netns add provider && ip link add lease type veth peer name eth0 netns provider"
        " && ip -n provider address add 10.77.0.1/24 dev eth0 && ip -n provider link set eth0 up && ip link set lease up"
        " && ip netns exec provider dnsmasq --port=0 --interface=eth0 --dhcp-range=10.77.0.10,10.77.0.20,2m"
        f" --dhcp-option=3 --dhcp-option=6,{PROVIDER_DNS} --leasefile-ro"
        # NetworkManager is to leave the host's other interface alone.
        " && printf '[keyfile]\\nunmanaged-devices=interface-name:host0\\n[main]\\nno-auto-default=*\\n'"
        " >/etc/NetworkManager/conf.d/test.conf"
    )
    yield
    subprocess.run([TESTNET / "testnet", "destroy", HOST], check=True, capture_output=True)


# --- Before the roles ---


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_dhcp_writes_resolv_conf(client):
    on_host("rm -f /etc/resolv.conf && echo nameserver 192.0.2.1 >/etc/resolv.conf")
    with leased(client):
        assert PROVIDER_DNS in resolvers()


def test_cloud_init_writes_the_name_and_etc_hosts():
    boot()
    assert on_host("hostname") == f"{PROVIDER_NAME}\n"
    assert f"127.0.1.1 {PROVIDER_NAME}" in on_host("cat /etc/hosts")


# --- After them ---


@pytest.fixture(scope="module")
def played(host) -> str:
    install("systemd-resolved")
    assert on_host("readlink /etc/resolv.conf; systemctl is-active systemd-resolved").split() == [
        "../run/systemd/resolve/stub-resolv.conf", "active",
    ]  # fmt: skip
    return site("identity,resolver,firewall")


def test_systemd_resolved_rests(played):
    assert resolvers() == ["127.0.0.1"]
    on_host("systemctl restart systemd-resolved; sleep 1; ! systemctl is-active systemd-resolved")
    assert on_host("getent ahostsv4 mx.bigmail.test").split()[0].startswith("198.51.100.")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_dhcp_writes_resolv_conf_no_more(played, client):
    with leased(client):
        assert resolvers() == ["127.0.0.1"]
    assert resolvers() == ["127.0.0.1"]


@pytest.mark.parametrize("clean", ["", "cloud-init clean && "], ids=["next boot", "new instance"])
def test_cloud_init_writes_what_is_there_already(played, clean):
    """Also though the provider's own data say manage_etc_hosts, which overrules every file below /etc/cloud/cloud.cfg.d."""
    boot(clean)
    assert on_host("hostname") == f"{HOST}\n"
    lines = on_host("cat /etc/hosts").splitlines()
    assert MINE in lines and not any(PROVIDER_NAME in line for line in lines)
    assert resolvers() == ["127.0.0.1"]


def test_a_run_after_that_changes_nothing(played):
    assert "changed=0" in site("identity,resolver,firewall")


# --- Another firewall ---


def reached(port: int) -> bool:
    """Whether a connection gets through the firewall, be it to be told that nobody listens."""
    with machine.inside_network():
        try:
            socket.create_connection((ADDRESS, port), timeout=3).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


def test_ports_are_opened_in_firewalld(played):
    """Debian has either cloud-init or firewalld."""
    install("firewalld")
    on_host("systemctl start firewalld && firewall-cmd --quiet --state")
    assert not reached(25) and not reached(993)
    said = site("firewall")
    assert "changed=1" in said
    assert [port for port in (25, 80, 465, 587, 993) if not reached(port)] == []
    assert not reached(12345)
    on_host("firewall-cmd --quiet --reload")
    assert reached(25)
    assert "changed=0" in site("firewall")

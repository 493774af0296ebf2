# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installing OpenBSD in a virtual machine, as far as it can be tried without OpenBSD.

What it boots over the network is a script for iPXE that asks for the same things, by the same protocols, as pxeboot(8) and
autoinstall(8) do; the questions of the installer are put to the response file as it matches them (distrib/miniroot/install.sub).
"""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import autoinstall, machine, media, services, vm
from testnet_lib.plan import Inventory

HOST = Inventory().host("mail.vm-openbsd.test")


# --- The response file ---


def answer(answers: str, question: str, default: str | None = None) -> tuple[str | None, str]:
    """Return the answer to a question, and the file without it: as install.sub's _autorespond does.

    A line matches if what stands before its first "=" is, without case, a run of whole words of the question.
    """
    lines = answers.splitlines()
    for number, line in enumerate(lines):
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if equals and key and not key.startswith("#") and re.search(rf"(^|\s){re.escape(key.lower())}($|[\s?])", question.lower()):
            return value, "\n".join(lines[:number] + lines[number + 1:])
    return default, answers


#: The installer's questions in their order, with the default; those with None must be answered, or the installation fails.
QUESTIONS = [
    ("System hostname? (short form, e.g. 'foo')", None, "cloud-46"),
    ("Network interface to configure? (name, lladdr, '?', or 'done')", "vio0", "vio0"),
    ("IPv4 address for vio0? (or 'autoconf' or 'none')", "autoconf", "198.51.100.46"),
    ("Netmask for vio0?", "255.255.255.0", "255.255.255.0"),
    ("IPv6 address for vio0? (or 'autoconf' or 'none')", "none", "2001:db8:100::46"),
    ("IPv6 prefix length for vio0?", "64", "64"),
    ("Network interface to configure? (name, lladdr, '?', or 'done')", "done", "done"),
    ("Default IPv4 route? (IPv4 address or none)", None, "198.51.100.1"),
    ("IPv6 default router? (IPv6 address or 'none')", "none", "2001:db8:100::1"),
    ("DNS domain name? (e.g. 'example.com')", "my.domain", "provider.example"),
    ("DNS nameservers? (IP address list or 'none')", "none", "198.51.100.2"),
    ("Password for root account?", None, "*************"),
    ("Public ssh key for root account?", "none", "ssh-ed25519 AAAA= me"),
    ("Start sshd(8) by default?", "yes", "yes"),
    ("Do you expect to run the X Window System?", "yes", "no"),
    ("Change the default console to com0?", "yes", "yes"),
    ("Which speed should com0 use?", "9600", "115200"),
    ("Setup a user? (enter a lower-case loginname, or 'no')", "no", "no"),
    ("Allow root ssh login? (yes, no, prohibit-password)", "no", "prohibit-password"),
    ("What timezone are you in? ('?' for list)", "", "UTC"),
    ("Which disk is the root disk? ('?' for details)", "sd0", "sd0"),
    ("Encrypt the root disk with a (p)assphrase or (k)eydisk?", "no", "no"),
    ("Use (W)hole disk MBR, whole disk (G)PT or (E)dit?", "whole", "whole"),
    ("URL to autopartitioning template for disklabel?", "none", "http://198.51.100.1/disklabel"),
    ("Location of sets? (disk http nfs or 'done')", "http", "http"),
    ("HTTP proxy URL? (e.g. 'http://proxy:8080', or 'none')", "none", "none"),
    ("HTTP Server? (hostname, list#, 'done' or '?')", None, "198.51.100.1"),
    ("Server directory?", "pub/OpenBSD/7.9/amd64", "pub/OpenBSD/7.9/amd64"),
    ("Unable to connect using https. Use http instead?", "no", "yes"),
    ("Set name(s)? (or 'abort' or 'done')", "done", "-game* -x* -comp* done"),
    ("Directory does not contain SHA256.sig. Continue without verification?", "no", "yes"),
    ("Location of sets? (disk http nfs or 'done')", "done", "done"),
]


def test_every_question_finds_its_answer():
    answers = autoinstall.response(HOST, "7.9", "ssh-ed25519 AAAA= me\n", "198.51.100.2", verified=False)
    for question, default, expected in QUESTIONS:
        found, answers = answer(answers, question, default)
        assert found == expected, question
    assert answers == "", "an answer that no question asks for"


def test_sets_of_a_mirror_must_be_signed():
    answers = autoinstall.response(HOST, "7.9", "key", "198.51.100.2", verified=True)
    assert answer(answers, "Directory does not contain SHA256.sig. Continue without verification?")[0] == "no"


def test_the_list_of_sets_is_read_as_the_installer_reads_it():
    """It takes the last word of each line."""
    listing = autoinstall.index({"base79.tgz": 123, "bsd": 4})
    assert [re.fullmatch(r".* ([A-Za-z][A-Za-z0-9._-]+)", line)[1] for line in listing.splitlines()] == ["base79.tgz", "bsd"]


# --- The media that the user names ---


def test_media_that_are_not_named_are_told():
    done = subprocess.run(
        [str(TESTNET / "testnet"), "boot", HOST.name], capture_output=True, text=True, check=False, timeout=120,
        env={name: value for name, value in os.environ.items() if name != "POSTMASTER_MAIL_OPENBSD"},
    )  # fmt: skip
    assert done.returncode and done.stderr.startswith("testnet: POSTMASTER_MAIL_OPENBSD is not set: name a release of OpenBSD/amd64")
    assert "Traceback" not in done.stderr


def release(top: Path, *leave_out: str) -> Path:
    directory = top / "7.9/amd64"
    directory.mkdir(parents=True)
    for name in ("pxeboot", "bsd.rd", "bsd", "base79.tgz", "man79.tgz"):
        if name not in leave_out:
            (directory / name).write_text(f"{name}\n")
    return top / "7.9"


@pytest.mark.parametrize("name", ["pxeboot", "bsd.rd", "bsd", "base79.tgz", "man79.tgz"])
def test_media_that_lack_something_are_told(tmp_path, name):
    top = release(tmp_path, name)
    with pytest.raises(SystemExit) as error:
        media.Release(str(top), tmp_path / "cache").check()
    assert str(error.value) == f"testnet: POSTMASTER_MAIL_OPENBSD is {str(top)!r}, and there is no amd64/{name}"


@pytest.mark.parametrize("source", ["/srv/install79.iso", "/srv/OpenBSD", "https://cdn.example/pub/OpenBSD/snapshots"])
def test_media_that_are_no_release_are_told(tmp_path, source):
    with pytest.raises(SystemExit, match="must end in the number of the release"):
        media.Release(source, tmp_path)


def test_a_mirror_is_asked_once(tmp_path):
    top = release(tmp_path / "mirror/pub/OpenBSD")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(top.parents[2]))

        def log_request(self, *_code):
            asked.append(self.path)

        def log_error(self, *_arguments):
            pass

    mirror = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    found = media.Release(f"http://127.0.0.1:{mirror.server_port}/pub/OpenBSD/7.9/", tmp_path / "cache")
    found.check()
    assert found.find("amd64/base79.tgz").read_text() == found.find("amd64/base79.tgz").read_text() == "base79.tgz\n"
    assert found.find("packages/amd64/nothing.tgz") is None
    assert found.find("../../mirror/pub/OpenBSD/7.9/amd64/bsd") is None
    mirror.shutdown()
    mirror.server_close()
    assert asked.count("/pub/OpenBSD/7.9/amd64/base79.tgz") == 1
    assert not list((tmp_path / "cache").rglob(".*"))


# --- The network that the installer starts in ---

#: iPXE as pxeboot and bsd.rd: DHCP's file name and next-server, boot.conf and the kernel by TFTP, the response file by HTTP with the
#: MAC address first, then the sets. Where something differs, it stops and never says that it is done.
SCRIPT = """#!ipxe
iseq ${filename} auto_install || goto wrong
iseq ${next-server} 198.51.100.1 || goto wrong
iseq ${net0/ip} 198.51.100.46 || goto wrong
imgfetch --name conf tftp://${next-server}/etc/boot.conf || goto wrong
imgfetch --name kernel tftp://${next-server}/bsd.rd || goto wrong
imgfetch --name mac http://${next-server}/${net0/mac}-install.conf?path=x && goto wrong ||
imgfetch --name answers http://${next-server}/install.conf?path=x || goto wrong
imgfetch --name label http://${next-server}/disklabel || goto wrong
imgfetch --name index http://${next-server}/pub/OpenBSD/7.9/amd64/index.txt || goto wrong
imgfetch --name base http://${next-server}/pub/OpenBSD/7.9/amd64/base79.tgz || goto wrong
imgfetch --name away http://198.51.100.77/ && goto wrong ||
imgfetch --name done http://${next-server}/pub/OpenBSD/7.9/amd64/all-as-it-should-be ||
reboot
:wrong
imgfetch --name wrong http://${next-server}/pub/OpenBSD/7.9/amd64/something-differs ||
reboot
"""


def test_the_installer_finds_what_it_asks_for(tmp_path):
    top = release(tmp_path)
    (top / "amd64/pxeboot").write_text(SCRIPT)
    (top / "amd64/bsd.rd").write_bytes(bytes(8 << 20))
    services.prepare(Inventory())
    image = tmp_path / "image"
    image.mkdir()
    asked = vm.install(HOST, image, media.Release(str(top), tmp_path / "cache"), seconds=400, finished="")
    sets = "/pub/OpenBSD/7.9/amd64"
    assert asked == [
        (f"/52:54:00:00:00:{HOST.number:02x}-install.conf", 404), ("/install.conf", 200), ("/disklabel", 200), (f"{sets}/index.txt", 200),
        (f"{sets}/base79.tgz", 200), (f"{sets}/all-as-it-should-be", 404),
    ]  # fmt: skip
    assert (image / "disk.img").stat().st_size == 20 << 30
    assert machine.members("base-vm") == []


def test_an_installation_that_ends_without_success_is_told(tmp_path):
    top = release(tmp_path)
    (top / "amd64/pxeboot").write_text("#!ipxe\nreboot\n")
    services.prepare(Inventory())
    image = tmp_path / "image"
    image.mkdir()
    with pytest.raises(SystemExit, match=f"testnet: {HOST.name} was not installed; its console said:"):
        vm.install(HOST, image, media.Release(str(top), tmp_path / "cache"), seconds=400)
    assert machine.members("base-vm") == []

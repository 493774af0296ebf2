# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files are their packages' own: with dpkg itself, on a root of its own."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import time

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import package_files

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg: builds and installs a package")
POSTINST = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then echo made >\"$DPKG_ROOT/etc/demo/made.cf\"; fi\n"


@pytest.fixture
def root(tmp_path):
    """A root with the package demo, which has a conffile and makes a file when it is configured."""
    package, root = tmp_path / "package", tmp_path / "root"
    for path, text in {
        "DEBIAN/control": "Package: demo\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n",
        "DEBIAN/conffiles": "/etc/demo/demo.conf\n",
        "DEBIAN/postinst": POSTINST,
        "etc/demo/demo.conf": "shipped\n",
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    (package / "DEBIAN/postinst").chmod(0o755)
    for path in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"):
        (root / path).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    subprocess.run(["dpkg-deb", "-b", package, tmp_path / "demo.deb"], check=True, capture_output=True)
    subprocess.run(
        ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-not-root", f"--log={root}/var/log/dpkg.log", "-i",
         tmp_path / "demo.deb"],
        check=True, capture_output=True,
    )  # fmt: skip
    return root


def unchanged(root, path):
    return package_files.Packages(str(root)).unchanged(path, (root / path[1:]).read_bytes())


def after_this_second(root):
    """Wait for the second after this one, which is as exactly as dpkg's log tells; a file's clock may lag behind that of programs."""
    begun = int(time.time())
    probe = root / "probe"
    while probe.touch() or int(probe.stat().st_ctime) <= begun:
        time.sleep(0.05)


@needs_dpkg
def test_a_conffile_is_the_packages_until_somebody_changes_it(root):
    assert unchanged(root, "/etc/demo/demo.conf")
    (root / "etc/demo/demo.conf").write_text("by hand\n")
    after_this_second(root)
    os.utime(root / "etc/demo/demo.conf")
    assert not unchanged(root, "/etc/demo/demo.conf")


@needs_dpkg
@pytest.mark.parametrize("rotated", ["", ".1", ".2.gz"])
def test_a_file_that_a_maintainer_script_made_is_so_too(root, rotated):
    log = root / "var/log/dpkg.log"
    text = log.read_bytes()
    if rotated:
        log.write_bytes(b"")
        (root / f"var/log/dpkg.log{rotated}").write_bytes(gzip.compress(text) if rotated.endswith("gz") else text)
    assert (root / "etc/demo/made.cf").read_text() == "made\n" and unchanged(root, "/etc/demo/made.cf")
    after_this_second(root)
    kept = (root / "etc/demo/made.cf").stat()
    (root / "etc/demo/made.cf").write_text("hand\n")
    # The time of modification can be set, as an editor or a backup does; that of the last change cannot.
    os.utime(root / "etc/demo/made.cf", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert not unchanged(root, "/etc/demo/made.cf")


@needs_dpkg
def test_a_file_in_the_directory_of_no_package_is_nobodys(root):
    (root / "etc/other").mkdir()
    (root / "etc/other/made.cf").write_text("made\n")
    assert not unchanged(root, "/etc/other/made.cf")


def test_what_ucf_installed_last_is_a_packages(tmp_path):
    (tmp_path / "var/lib/ucf").mkdir(parents=True)
    (tmp_path / "var/lib/ucf/hashfile").write_text(f"{hashlib.md5(b'shipped').hexdigest()}  /etc/dovecot/dovecot.conf\n")
    packages = package_files.Packages(str(tmp_path))
    assert packages.unchanged("/etc/dovecot/dovecot.conf", b"shipped")
    assert not packages.unchanged("/etc/dovecot/dovecot.conf", b"shipped\nmine")
    assert not packages.unchanged("/etc/dovecot/other.conf", b"shipped")


@pytest.mark.parametrize(
    ("example", "path"),
    [
        ("usr/local/share/examples/dovecot/example-config/dovecot.conf", "/etc/dovecot/dovecot.conf"),
        ("etc/examples/smtpd.conf", "/etc/mail/smtpd.conf"),
        ("usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf"),
    ],
)
def test_a_copy_of_an_example_is_a_packages(tmp_path, example, path):
    (tmp_path / example).parent.mkdir(parents=True)
    (tmp_path / example).write_bytes(b"example\n")
    packages = package_files.Packages(str(tmp_path))
    assert packages.unchanged(path, b"example\n")
    assert not packages.unchanged(path, b"mine\n") and not packages.unchanged("/etc/mail/other", b"example\n")


def test_an_installation_is_from_its_first_script_to_its_last():
    log = [
        "2026-11-29 10:00:00 install postfix:amd64 <none> 3.7.11-0+deb12u1",
        "2026-11-29 10:00:01 status unpacked postfix:amd64 3.7.11-0+deb12u1",
        "2026-11-29 10:00:02 configure postfix:amd64 3.7.11-0+deb12u1 <none>",
        "2026-11-29 10:00:03 status installed postfix-doc:all 3.7.11-0+deb12u1",
        "2026-11-29 10:00:05 status installed postfix:amd64 3.7.11-0+deb12u1",
        "2026-11-29 11:00:00 status installed postfix:amd64 3.7.11-0+deb12u1",
        "2026-11-29 12:00:00 upgrade postfix:amd64 3.7.11-0+deb12u1 3.7.11-0+deb12u2",
    ]
    begun = time.mktime((2026, 11, 29, 10, 0, 0, 0, 0, -1))
    assert package_files.installations(log, ["postfix"]) == [(begun, begun + 6)]
    assert package_files.installations(log, ["dovecot-core"]) == []

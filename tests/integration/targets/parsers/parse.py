# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the host: gives the files of every inventory to the daemons' own parsers, and prints what these have read, as JSON.

The argument is a directory with one directory for each inventory, each with what the templates made: role, file.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

from fail2ban.client.configparserinc import SafeConfigParserWithIncludes

CERTIFICATE = "/root/parsers.pem"
OPENSMTPD = "/opt/opensmtpd/usr/sbin/smtpd"
LUA = """
local ucl, logger = require "ucl", require "rspamd_logger"
for path in io.lines("%s") do
  local parser = ucl.parser()
  local good, err = parser:parse_file(path)
  print(path .. "\\t" .. (good and ucl.to_format(parser:get_object(), "json-compact") or "failed: " .. tostring(err)))
end
"""


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout, done.stderr


def postfix(where):
    config = str(where / "postfix/etc/postfix")
    # The tables are read as the roles' own main.cf names them; only what runs where is this host's.
    status, parameters, warnings = run("postconf", "-c", config, "-n")
    services = run("postconf", "-c", config, "-M")
    tables = {}
    for name in ("aliases", "senders", "system", "mailboxes", "transport", "no_mail"):
        code, text, warned = run("postmap", "-c", config, "-s", f"texthash:{config}/tables/{name}")
        tables[name] = dict(line.split("\t", 1) for line in text.splitlines())
        warnings += warned
        status |= code
    return {"status": status | services[0], "warnings": warnings + services[2], "tables": tables,
            "parameters": dict(line.split(" =", 1) for line in parameters.splitlines())}


def smtpd(where, certificate):
    config = where / "opensmtpd/etc/smtpd.conf"
    tables = [f"-D{path.name}_file=file:{path}" for path in sorted((where / "opensmtpd/etc/smtpd/tables").iterdir())]
    # smtpd reads the files of certificates, which are made where the configuration says they are.
    for line in config.read_text().splitlines():
        if line.startswith("pki "):
            path = pathlib.Path(line.split('"')[3])
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(certificate)
                path.chmod(0o600)
    # And those of who certifies smarthosts, whose text here is none of a certificate.
    authorities = [f'-D{name}="{CERTIFICATE}"' for name in re.findall(r'(?m)^(\w+) = "\\"/[^"]*\\""$', config.read_text())]
    status, said, warnings = run(OPENSMTPD, "-n", "-f", str(config), *tables, *authorities)
    return {"status": status, "said": said + warnings}


def dovecot(where):
    config = str(where / "dovecot/etc/dovecot/dovecot.conf")
    status, text, warnings = run("doveconf", "-c", config, "-n")
    values = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line and not line.startswith((" ", "#")))
    # The compiler looks up the owner of the mailboxes, which the role creates.
    if run("id", values["mail_uid"])[0]:
        run("useradd", "--non-unique", "--uid", values["first_valid_uid"], values["mail_uid"])
    script = where / "dovecot/etc/dovecot/sieve/junk.sieve"
    compiled = run("sievec", "-c", config, str(script))
    return {"status": status, "warnings": warnings, "values": values, "sieve": compiled[0], "sieve_said": compiled[1] + compiled[2]}


def jail(where):
    parser = SafeConfigParserWithIncludes()
    parser.read(str(where / "protection/etc/fail2ban/jail.d/postmaster-mail.local"))
    return {name: parser.get("postmaster-mail", name) for name in ("ignoreip", "maxretry", "bantime", "findtime")}


def ucl(root):
    """Every file of Rspamd's, by one process."""
    paths = [path for path in sorted(root.glob("*/rspamd/**/*")) if path.suffix in (".inc", ".conf")]
    (root / "ucl.list").write_text("".join(f"{path}\n" for path in paths))
    (root / "ucl.lua").write_text(LUA % (root / "ucl.list"))
    status, said, warnings = run("rspamadm", "lua", str(root / "ucl.lua"))
    lines = [line.split("\t", 1) for line in said.splitlines() if line.startswith(str(root)) and "\t" in line]
    assert len(lines) == len(paths), (status, said[-2000:], warnings)
    found = {}
    for path, text in lines:
        parts = pathlib.Path(path).relative_to(root).parts
        found.setdefault(parts[0], {})[parts[-1]] = text if text.startswith("failed: ") else json.loads(text)
    return found


def main():
    root = pathlib.Path(sys.argv[1])
    certificate = pathlib.Path(CERTIFICATE).read_text()
    maps = ucl(root)
    found = {}
    for where in sorted(path for path in root.iterdir() if path.is_dir()):
        unbound = run("unbound-checkconf", str(where / "resolver/server/unbound.conf"))
        found[where.name] = {
            "postfix": postfix(where), "smtpd": smtpd(where, certificate), "dovecot": dovecot(where), "jail": jail(where),
            "unbound": {"status": unbound[0], "said": unbound[1] + unbound[2]}, "rspamd": maps[where.name],
        }
    json.dump(found, sys.stdout)


main()

#!/bin/bash
# Runs on the host, beside dkimproxy.out and dkimproxy_out.conf: Postfix with dkimproxy as its content filter, as guides have it.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
debconf-set-selections <<<"postfix postfix/main_mailer_type select Internet Site"
apt-get -qq install -y --no-install-recommends postfix libmail-dkim-perl openssl >/dev/null

# The key, by openssl and as short as it was usual.
mkdir -p /etc/dkimproxy/private
openssl genrsa -out /etc/dkimproxy/private/private.key 1024 2>/dev/null
openssl rsa -in /etc/dkimproxy/private/private.key -pubout -out /etc/dkimproxy/private/public.key 2>/dev/null
chmod -R go= /etc/dkimproxy/private

# A package called dkimproxy, with its service.
tree=$(mktemp -d)
install -D -m 0755 dkimproxy.out "$tree/usr/sbin/dkimproxy.out"
install -D -m 0644 dkimproxy_out.conf "$tree/etc/dkimproxy/dkimproxy_out.conf"
mkdir -p "$tree/DEBIAN" "$tree/lib/systemd/system"
cat >"$tree/DEBIAN/control" <<END
Package: dkimproxy
Version: 1.4.1-3
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: fake of a test
END
cat >"$tree/lib/systemd/system/dkimproxy.service" <<END
[Service]
ExecStart=/usr/sbin/dkimproxy.out --conf_file=/etc/dkimproxy/dkimproxy_out.conf
[Install]
WantedBy=multi-user.target
END
dpkg-deb --root-owner-group -b "$tree" /tmp/dkimproxy.deb >/dev/null
dpkg -i /tmp/dkimproxy.deb >/dev/null
rm -r "$tree" /tmp/dkimproxy.deb
systemctl daemon-reload
systemctl -q enable --now dkimproxy

postconf -e myhostname=mail.dkimproxy.test mydestination=localhost mydomain=dkimproxy.test 'myorigin=$mydomain' \
  content_filter=dksign:[127.0.0.1]:10027 compatibility_level=3.6
cat >>/etc/postfix/master.cf <<'END'
dksign unix - - n - 4 smtp
  -o smtp_send_xforward_command=no
  -o smtp_discard_ehlo_keywords=8bitmime,starttls,chunking,xforward
127.0.0.1:10028 inet n - n - 10 smtpd
  -o content_filter=
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
END
systemctl restart postfix

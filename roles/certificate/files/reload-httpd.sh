#!/bin/sh
# httpd goes on with what is left of its configuration; without any server it would not start.
if grep -q '^[^#]' /etc/httpd.conf; then
  rcctl restart httpd
else
  rcctl stop httpd
  rcctl disable httpd
fi

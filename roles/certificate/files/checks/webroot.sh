#!/bin/sh
# webroot.sh CHALLENGES WEBROOT: whether there is the directory of challenges, for which acme-client looks no sooner than it needs it, and
# which it does not make.
test -d "$1" || {
  echo "certificate_webroot $2 must have the directory .well-known/acme-challenge, for acme-client"
  exit 1
}

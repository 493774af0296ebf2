#!/bin/sh
# Have OpenDKIM read a staged configuration together with the staged tables: opendkim.sh STAGE
# It opens the tables that its configuration names, by absolute paths.
sed "s,:/etc/opendkim/,:$1/opendkim/," "$1/opendkim.conf" | opendkim -n -x /dev/stdin

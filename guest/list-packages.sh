#!/bin/sh
# Prints what system this is and which packages are installed, for the record that the host keeps of an image:
#   os NAME=VALUE                                     lines of os-release(5)
#   manager dpkg|rpm|apk
#   package NAME|VERSION|ARCHITECTURE|SOURCE|LICENCE  as its database has them; a field may be empty
# Changes nothing. Runs on Debian, Ubuntu, RHEL, SUSE and Alpine.
set -eu

for file in /etc/os-release /usr/lib/os-release; do
    if [ -r "$file" ]; then
        sed -n '/^[A-Z_]*=/s/^/os /p' "$file"
        break
    fi
done

# By the databases: busybox has tools of these names, and a Debian may have rpm.
if [ -e /var/lib/dpkg/status ] && command -v dpkg-query >/dev/null; then
    echo 'manager dpkg'
    # shellcheck disable=SC2016 # fields of dpkg's
    dpkg-query -W -f '${db:Status-Status}|${Package}|${Version}|${Architecture}|${source:Package}|\n' |
        sed -n 's/^installed|/package /p'
elif { [ -d /var/lib/rpm ] || [ -d /usr/lib/sysimage/rpm ]; } && command -v rpm >/dev/null; then
    echo 'manager rpm'
    rpm -qa --qf 'package %{NAME}|%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}|%{ARCH}|%{SOURCERPM}|%{LICENSE}\n' |
        sed '/^package gpg-pubkey|/d'
elif [ -r /lib/apk/db/installed ]; then
    echo 'manager apk'
    awk -F: '
        { value = substr($0, 3) }
        $1 == "P" { name = value }
        $1 == "V" { version = value }
        $1 == "A" { arch = value }
        $1 == "o" { source = value }
        $1 == "L" { licence = value }
        $0 == "" {
            if (name != "") print "package " name "|" version "|" arch "|" source "|" licence
            name = version = arch = source = licence = ""
        }' /lib/apk/db/installed
fi

#!/bin/sh
# Sets language, time zone and keyboard. Debian, Ubuntu, RHEL, openSUSE. What is not given stays as it is.
#
#   LOCALE    such as en_US.UTF-8
#   TIMEZONE  such as Europe/Paris
#   KEYMAP    such as fr
set -eu

# shellcheck disable=SC2034 # for the library
self="locale"
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

locale=${LOCALE:-}
timezone=${TIMEZONE:-}
keymap=${KEYMAP:-}

set_locale() {
    if [ "$(package_manager)" = apt-get ]; then
        case $locale in
        C | POSIX | C.UTF-8) ;;
        *)
            install_packages locales
            charmap=$(grep "^$locale " /usr/share/i18n/SUPPORTED | cut -d ' ' -f 2)
            [ -n "$charmap" ] || fail "locale '$locale' is unknown: /usr/share/i18n/SUPPORTED lists them"
            grep -qx "$locale $charmap" /etc/locale.gen || echo "$locale $charmap" >>/etc/locale.gen
            locale-gen
            ;;
        esac
        echo "LANG=$locale" >/etc/default/locale
    else
        echo "LANG=$locale" >/etc/locale.conf
    fi
}

set_timezone() {
    [ -f "/usr/share/zoneinfo/$timezone" ] || fail "time zone '$timezone' is unknown, or the package tzdata is missing"
    ln -sfn "/usr/share/zoneinfo/$timezone" /etc/localtime
    if [ -f /etc/timezone ]; then
        echo "$timezone" >/etc/timezone
    fi
}

set_keymap() {
    if [ "$(package_manager)" = apt-get ]; then
        install_packages console-setup
        if grep -q '^XKBLAYOUT=' /etc/default/keyboard; then
            sed -i "s|^XKBLAYOUT=.*|XKBLAYOUT=\"$keymap\"|" /etc/default/keyboard
        else
            echo "XKBLAYOUT=\"$keymap\"" >>/etc/default/keyboard
        fi
    else
        echo "KEYMAP=$keymap" >/etc/vconsole.conf
    fi
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
[ -n "$locale$timezone$keymap" ] || fail "give at least one of LOCALE, TIMEZONE, KEYMAP"
case $locale$timezone$keymap in
*[!A-Za-z0-9_./@+-]*) fail "LOCALE, TIMEZONE or KEYMAP holds a character that belongs to none" ;;
esac
if [ -n "$locale" ]; then set_locale; fi
if [ -n "$timezone" ]; then set_timezone; fi
if [ -n "$keymap" ]; then set_keymap; fi

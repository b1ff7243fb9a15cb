#!/bin/sh
# The Debian packages that building and testing need, and those that are named as arguments. Installs what is missing
# when run as root; otherwise says the exact command. A shell script, because cargo itself needs a linker before it
# can run anything.
set -eu

compiler="gcc libc6-dev make"
kernel="flex bison bc libelf-dev libssl-dev xz-utils debian-archive-keyring"
guest="busybox-static iproute2 kmod util-linux procps rdma-core ibverbs-providers infiniband-diags rdmacm-utils
       fio sg3-utils e2fsprogs xfsprogs tshark"
iscsi="tgt open-iscsi libiscsi-bin multipath-tools qemu-utils qemu-block-extra"
layout="libibverbs1 libibverbs-dev librdmacm1 librdmacm-dev"
all=$(echo $compiler $kernel $guest $iscsi $layout "$@")

if ! command -v dpkg-query > /dev/null; then
    echo "This is not Debian, so nothing was checked. The tests need what Debian calls: $all" >&2
    exit 0
fi

missing=
for package in $all; do
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2> /dev/null || true) in
        ii*) ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" != 0 ]; then
    echo "Debian packages are missing. Install them and try again:" >&2
    echo "    sudo $install" >&2
    exit 1
fi
echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive

# Tests start these daemons themselves: this machine is to get the programs, not another target on its port 3260.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get -q update
apt-get -q $(echo "$install" | cut -d' ' -f2-)
for package in $missing; do
    case $package in
        tgt) services=tgt.service ;;
        open-iscsi) services="open-iscsi.service iscsid.service iscsid.socket" ;;
        multipath-tools) services="multipathd.service multipathd.socket" ;;
        *) continue ;;
    esac
    ! command -v systemctl > /dev/null || systemctl --quiet disable $services 2> /dev/null || true
done

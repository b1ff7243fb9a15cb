#!/bin/busybox sh
# First process of the benchmark's guest, in its initramfs. The host's file system becomes the root: read-only
# below (share `host`), writes in memory above. The share `bed` is the one folder of the host that the guest writes
# to: it holds the script `run` and what `run` leaves there, and receives `exit`, the script's exit status.
b=/bin/busybox
root=/root

$b mkdir -p /proc /sys /dev /lower /writes $root
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do $b insmod "$module"; done

share=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o ro,cache=loose,$share host /lower || echo "bed: the host's root cannot be mounted"
$b mount -t tmpfs writes /writes
$b mkdir -p /writes/upper /writes/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/writes/upper,workdir=/writes/work overlay $root || echo "bed: no overlay root"

$b mount -t proc proc $root/proc
$b mount -t sysfs sysfs $root/sys
$b mount -t debugfs debugfs $root/sys/kernel/debug
$b mount --move /dev $root/dev
$b mkdir -p $root/dev/pts $root/dev/shm
$b mount -t devpts devpts $root/dev/pts
$b mount -t tmpfs shm $root/dev/shm
$b mount -t tmpfs run $root/run
$b mount -t tmpfs tmp $root/tmp
$b mkdir -p $root/run/bed $root/run/modules
$b mount -t 9p -o $share bed $root/run/bed || echo "bed: no way back to the host"
$b mount -t 9p -o ro,cache=loose,$share modules $root/run/modules
$b mkdir -p $root/lib/modules
$b mount --bind $root/run/modules $root/lib/modules || echo "bed: no kernel modules"

# The kernel looks for modprobe in the first process's root, so that process itself changes over.
$b cp $b $root/run/busybox
exec $b switch_root $root /bin/sh -c '
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp
/bin/sh /run/bed/run < /dev/null > /run/bed/log 2>&1
status=$?
/run/busybox dmesg > /run/bed/dmesg
# The host takes `exit` for the end, so it appears whole and last.
echo $status > /run/bed/exit.part
/run/busybox mv /run/bed/exit.part /run/bed/exit
/run/busybox poweroff -f'

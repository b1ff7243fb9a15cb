#!/bin/busybox sh
# First process of the guest. The host's file system is the root: read-only below, writes in memory above, so a
# scenario may change any file and the host keeps its own. BED (from the kernel command line) is the one folder
# of the host that the guest writes to: it holds the script `run`, and receives `exit`, the script's exit status.
# This script's output is the kernel's console; the output of `run` is /dev/tty0, which the host keeps apart.
b=/bin/busybox
root=/mnt/root

$b mount -t proc proc /proc
$b mount -t tmpfs writes /mnt
$b mkdir -p /mnt/upper /mnt/work $root
$b mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay $root || echo "bed: no overlay root"

$b mount -t proc proc $root/proc
$b mount -t sysfs sysfs $root/sys
$b mount -t debugfs debugfs $root/sys/kernel/debug
$b mount -t configfs configfs $root/sys/kernel/config
$b mount -t devtmpfs devtmpfs $root/dev
$b mkdir -p $root/dev/pts $root/dev/shm
$b mount -t devpts devpts $root/dev/pts
$b mount -t tmpfs shm $root/dev/shm
$b mount -t tmpfs run $root/run
$b mkdir -p $root/run/bed $root/run/tmp
$b mount -t hostfs -o "$BED" bed $root/run/bed || echo "bed: no way back to the host at $BED"

# A task that hangs must show in the log before the host's time limit ends the guest.
echo 40 > /proc/sys/kernel/hung_task_timeout_secs
$b stty -F $root/dev/tty0 -opost
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
# The console is a terminal, but what is written to it goes to a log or through a pipe: no colours.
export TERM=dumb
echo "bed: up"
$b chroot $root /bin/sh /run/bed/run < $root/dev/tty0 > $root/dev/tty0 2>&1
status=$?

# The host takes the appearance of `exit` for the end, so it appears whole and last.
echo "bed: done, exit status $status"
echo $status > $root/run/bed/exit.part
$b sync
$b mv $root/run/bed/exit.part $root/run/bed/exit
$b poweroff -f

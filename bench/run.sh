# Runs in the guest as /run/bed/run: the same jobs against one target after another, each on the same ramdisk and the
# same soft RDMA device, and with the same initiator for each transport. Reads `plan` (one line per round: its name,
# the transport, the peer, and `plain` or `traced`), `jobs-plain` and `jobs-traced` (one line per job: its name, then
# fio's arguments) and `parameters` (shell variables). Leaves in `rounds/<round>/`: fio's report of each job, the kernel's log during it, the peer's
# and the device's counters before and after it, and `<job>.failed` with the reason for a job that gave no figure.
set -u
bed=/run/bed
. $bed/parameters

say() { echo "bench: $*"; }
die() { say "$*"; exit 1; }

# One device for all rounds. Its address, and with it the port GUID, is fixed; the whole ramdisk is written once, so
# that no job pays for its pages.
fabric_up() {
    modprobe -a configfs rdma_rxe rdma_ucm ib_umad sd_mod dummy || die "a module is missing"
    modprobe brd rd_nr=1 rd_size=$((ramdisk_mib * 1024)) || die "no ramdisk"
    mount -t configfs configfs /sys/kernel/config
    mkdir -p /etc/target
    ip link set lo up
    ip link add bench0 address 02:00:00:00:99:01 type dummy
    ip link set bench0 mtu 4200 up
    ip address add $address/24 dev bench0
    rdma link add rxe0 type rxe netdev bench0 || die "no soft RDMA device"
    # GID 0 is fe80:: and the port GUID.
    gid=$(cat /sys/class/infiniband/rxe0/ports/1/gids/0)
    guid_groups=${gid#fe80:0000:0000:0000:}
    guid=$(echo $guid_groups | tr -d :)
    dd if=/dev/urandom of=/tmp/pattern bs=1M count=1 2>/dev/null
    for mib in $(seq 0 $((ramdisk_mib - 1))); do
        dd if=/tmp/pattern of=/dev/ram0 bs=1M seek=$mib oflag=direct 2>/dev/null || die "the ramdisk cannot be written"
    done
}

# Waits for the disk that a login brings, sets `disk` to it, and makes it alike whatever is behind it: the peers
# announce different limits and media, and the initiator must do the same work for all.
await_disk() {
    disk=
    for attempt in $(seq 50); do
        disk=$(cd /sys/block && ls -d sd* 2>/dev/null | head -n 1)
        [ -n "$disk" ] && [ -b /dev/$disk ] && break
        sleep 0.1
    done
    [ -n "$disk" ] || return 1
    queue=/sys/block/$disk/queue
    echo none > $queue/scheduler
    echo 512 > $queue/max_sectors_kb
    echo 0 > $queue/rotational
    echo 0 > $queue/add_random
    echo 0 > $queue/wbt_lat_usec
    # Not every attribute can be read.
    grep . $queue/* 2>/dev/null > $out/disk || :
}

await_no_disk() {
    for attempt in $(seq 100); do
        ls -d /sys/block/sd* > /dev/null 2>&1 || return 0
        sleep 0.1
    done
    die "the disk does not go away"
}

snapshot() {
    (cd /sys/class/infiniband/rxe0/ports/1/hw_counters && grep . *) > $out/$1.rxe
    peer_counters > $out/$1.peer
}

# While the guest waits for the host its clock runs away, so nothing that takes part in a job reads or writes the
# host's files: fio and the reports are in memory, and the reports go to the host afterwards.
run_job() {
    job=$1
    shift
    lines=$(dmesg | wc -l)
    snapshot $job.before
    [ $mode = plain ] || trace_begin $job
    timeout 600 /tmp/fio --name=$job --filename=/dev/$disk --direct=1 --randseed=20 --norandommap --output-format=json \
        --output=$out/$job.json "$@" 2> $out/$job.stderr
    status=$?
    [ $mode = plain ] || trace_end
    snapshot $job.after
    dmesg | tail -n +$((lines + 1)) > $out/$job.dmesg
    if [ $status -ne 0 ]; then
        echo "fio ended with status $status: $(head -n 1 $out/$job.stderr)" > $out/$job.failed
    fi
    cp -r $out $bed/rounds/
    say "$round: $job: status $status, $(cut -d ' ' -f 1 /proc/uptime) s"
}

# A job that is named `warm` has no result: it brings fio, the driver and the caches to their steady state.
run_round() {
    round=$1 transport=$2 peer=$3 mode=$4
    out=/tmp/rounds/$round
    mkdir -p $out
    . $bed/$transport.sh
    . $bed/$peer.sh
    if ! { initiator_up && peer_up && log_in && await_disk; }; then
        echo "$peer did not come up" > $out/failed
        dmesg | tail -n 30 > $out/dmesg
        say "$round: $peer did not come up"
    else
        while read -r name arguments; do
            run_job $name $arguments
        done < $bed/jobs-$mode
    fi
    log_out
    await_no_disk
    peer_down
    cp -r $out $bed/rounds/
}

mkdir -p $bed/rounds
cp $(command -v fio) /tmp/fio
fabric_up
say "ramdisk and rxe up, port GUID $guid"
while read -r name transport peer mode; do
    run_round $name $transport $peer $mode
done < $bed/plan
say "all rounds done"

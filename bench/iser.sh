# iSER, by open-iscsi and the kernel's ib_iser. Sourced by run.sh. A peer sets `target` to the name of the target and
# `portal` to its address and port.

# Started once: it is at rest during the jobs, and stays for the rounds that follow.
initiator_up() {
    modprobe ib_iser || return 1
    [ -z "${iscsid:-}" ] || return 0
    # Its lock is made in there.
    mkdir -p /run/lock
    echo InitiatorName=$initiator > /etc/iscsi/initiatorname.iscsi
    # Nothing is asked of the peer between the I/Os, and the queue is as deep as that of SRP.
    cat > /etc/iscsi/iscsid.conf << END
node.conn[0].timeo.noop_out_interval = 0
node.conn[0].timeo.noop_out_timeout = 0
node.session.cmds_max = 64
node.session.queue_depth = 64
END
    iscsid --foreground > /tmp/iscsid.log 2>&1 &
    iscsid=$!
    for attempt in $(seq 100); do
        grep -q @ISCSIADM_ABSTRACT_NAMESPACE /proc/net/unix && return 0
        sleep 0.1
    done
    return 1
}

# A record that does not say the group of its portal has room for one transport only.
record() { iscsiadm --mode node --targetname $target --portal $portal,1 --interface iser "$@" >> $out/iscsiadm.log 2>&1; }

log_in() { record --op new && record --login; }

log_out() {
    record --logout
    record --op delete
    cp /tmp/iscsid.log $out/
}

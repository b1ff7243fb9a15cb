# SRP, by the kernel's ib_srp. Sourced by run.sh. A peer sets `target` to the port to log in to
# (id_ext=…,ioc_guid=…,dest=…).

initiator_up() { modprobe ib_srp; }

log_in() { echo "$target,initiator_ext=0,queue_size=64" > /sys/class/infiniband_srp/srp-rxe0-1/add_target; }

log_out() {
    for port in /sys/class/srp_remote_ports/port-*/delete; do
        [ -e $port ] && echo 1 > $port
    done
}

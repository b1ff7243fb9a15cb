#!/bin/bash
# Proves that this crate and a kernel understand each other: rdma_rxe on one end of a veth pair, the example `rping` in
# another network namespace, in both roles, over IPv4 and IPv6, with path MTU 1024 and 4096, then with loss and
# reordering. Needs root in a kernel with rxe and veth (User-Mode Linux will do), iproute2, rdmacm-utils, python3.
#
# usage: against-kernel.sh PATH_OF_THE_BUILT_EXAMPLE
set -u
rping_soft=$1
there="ip netns exec soft"
failed=0

ip link set lo up
mkdir -p /run/netns
ip netns add soft
ip link add kernel0 address 02:00:00:00:00:01 type veth peer name soft0 netns soft
$there ip link set lo up
ip link set kernel0 mtu 1500 up; $there ip link set soft0 mtu 1500 up
ip addr add 10.7.0.1/24 dev kernel0; $there ip addr add 10.7.0.2/24 dev soft0
ip addr add fd00::1/64 dev kernel0 nodad; $there ip addr add fd00::2/64 dev soft0 nodad
rdma link add rxe0 type rxe netdev kernel0

# Runs the example with a socket on standard input that takes datagrams without UDP checksum (UDP_NO_CHECK6_RX).
soft() {
    $there timeout 60 python3 -c '
import os, socket, sys
ip = sys.argv[1]
family = socket.AF_INET6 if ":" in ip else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_UDP, 102, 1)
s.bind((ip, 4791))
os.dup2(s.fileno(), 0)
os.execv(sys.argv[2], sys.argv[2:])' "$@"
}

check() {
    if [ "$1" -eq 0 ]; then echo "ok      $2"; else echo "FAILED  $2"; failed=1; fi
}

# name, kernel's address, example's address, path MTU, bytes, rounds
both() {
    local near=$3 far=$2
    case $2 in *:*) near="[$3]" far="[$2]" ;; esac
    soft "$3" "$rping_soft" server "$near:7174" "$4" & local peer=$!
    sleep 0.5
    timeout 60 rping -c -a "$3" -p 7174 -C "$6" -V -S "$5"; check $? "$1: the kernel connects"
    wait $peer
    timeout 60 rping -s -a "$2" -p 7175 -C "$6" -V -S "$5" & peer=$!
    sleep 0.5
    soft "$3" "$rping_soft" client "$3" "$far:7175" "$6" "$5" "$4"; check $? "$1: the example connects"
    wait $peer
}

both "IPv4, MTU 1024" 10.7.0.1 10.7.0.2 1024 4999 20
both "IPv6, MTU 1024" fd00::1 fd00::2 1024 4999 20
rdma link del rxe0
ip link set kernel0 mtu 4200; $there ip link set soft0 mtu 4200
rdma link add rxe0 type rxe netdev kernel0
both "IPv4, MTU 4096" 10.7.0.1 10.7.0.2 4096 65535 50
tc qdisc add dev kernel0 root netem loss 1% delay 5ms reorder 5%
$there tc qdisc add dev soft0 root netem loss 1% delay 5ms reorder 5%
both "IPv4, loss 1 %, reordering 5 %, 5 ms" 10.7.0.1 10.7.0.2 4096 20000 20
exit $failed

# The daemon as a peer: a release build with a block LUN on the ramdisk. Sourced by run.sh.
srptgt_srp=$address:5556
srptgt_iser=$address:3261
export SRPTGT_API=/run/srptgt/api

srptgt() { /run/srptgt/srptgt "$@"; }

peer_up() {
    mkdir -p /run/srptgt
    # From memory, as an installed program would be after its first use.
    cp $bed/srptgt /run/srptgt/srptgt || return 1
    rm -rf /run/srptgt/state /run/srptgt/config.toml
    # Not by the function: a function in the background is a shell, and the signal at the end would reach only that.
    /run/srptgt/srptgt serve --config /run/srptgt/config.toml --state /run/srptgt/state > $out/daemon.log 2>&1 &
    daemon=$!
    for attempt in $(seq 100); do
        srptgt status > /dev/null 2>&1 && break
        sleep 0.1
    done
    {
        srptgt lun add bench --block /dev/ram0 &&
            srptgt host add initiator --guid 0x$guid --iqn $initiator &&
            srptgt map bench --host initiator --lun 0 &&
            srptgt_portal_$transport
    } > $out/setup.log 2>&1
}

srptgt_portal_srp() {
    srptgt portal add srp $srptgt_srp || return 1
    target=$(srptgt portal list --output json | grep -o "id_ext=[^\"]*dest=$srptgt_srp" | head -n 1)
}

srptgt_portal_iser() {
    srptgt portal add iser $srptgt_iser || return 1
    target=$(srptgt target show --output json | grep -o 'iqn\.[^"]*') portal=$srptgt_iser
}

peer_counters() { srptgt status --output json; }

trace_begin() {
    strace -c -f -o $out/$1.strace -p $daemon 2> $out/$1.strace.log &
    tracer=$!
    until grep -q attached $out/$1.strace.log; do sleep 0.1; done
}

trace_end() {
    kill -INT $tracer
    wait $tracer
}

peer_down() {
    kill -TERM $daemon
    wait $daemon
}

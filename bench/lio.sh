# The kernel's own target as a peer: LIO's ib_srpt over an iblock backstore on the ramdisk. Sourced by run.sh.
lio=/sys/kernel/config/target
lio_disk=$lio/core/iblock_0/bench
lio_port=5555

peer_up() {
    modprobe -a ib_srpt target_core_iblock || return 1
    mkdir -p $lio_disk
    echo udev_path=/dev/ram0 > $lio_disk/control
    echo 1 > $lio_disk/enable
    mkdir -p $lio/srpt
    echo $lio_port > $lio/srpt/discovery_auth/rdma_cm_port
    lio_group=$lio/srpt/$guid_groups/$guid_groups
    mkdir -p $lio_group/lun/lun_0
    ln -s $lio_disk $lio_group/lun/lun_0/disk
    # Over RDMA-CM LIO looks an initiator up by its address.
    mkdir -p $lio_group/acls/$address/lun_0
    ln -s $lio_group/lun/lun_0 $lio_group/acls/$address/lun_0/disk
    echo 1 > $lio_group/enable
    log_in id_ext=$guid,ioc_guid=$guid,dest=$address:$lio_port
}

peer_counters() { :; }

peer_down() {
    echo 0 > $lio_group/enable
    rm $lio_group/acls/$address/lun_0/disk $lio_group/lun/lun_0/disk
    rmdir $lio_group/acls/$address/lun_0 $lio_group/acls/$address $lio_group/lun/lun_0
    rmdir $lio_group $lio/srpt/$guid_groups $lio/srpt $lio_disk $lio/core/iblock_0
    modprobe -r ib_srpt target_core_iblock
}

# The kernel's own target as a peer: LIO's ib_srpt or ib_isert over an iblock backstore on the ramdisk. Sourced by
# run.sh.
lio=/sys/kernel/config/target
lio_disk=$lio/core/iblock_0/bench
lio_srp_port=5555
lio_iser_port=3260
lio_name=iqn.2026-11.bench.lio:bench

peer_up() {
    modprobe -a target_core_iblock || return 1
    mkdir -p $lio_disk
    echo udev_path=/dev/ram0 > $lio_disk/control
    echo 1 > $lio_disk/enable
    lio_up_$transport
}

peer_counters() { :; }

peer_down() {
    lio_down_$transport
    rmdir $lio_disk $lio/core/iblock_0
    modprobe -r target_core_iblock
}

lio_up_srp() {
    modprobe ib_srpt || return 1
    mkdir -p $lio/srpt
    echo $lio_srp_port > $lio/srpt/discovery_auth/rdma_cm_port
    lio_group=$lio/srpt/$guid_groups/$guid_groups
    mkdir -p $lio_group/lun/lun_0
    ln -s $lio_disk $lio_group/lun/lun_0/disk
    # Over RDMA-CM LIO looks an initiator up by its address.
    mkdir -p $lio_group/acls/$address/lun_0
    ln -s $lio_group/lun/lun_0 $lio_group/acls/$address/lun_0/disk
    echo 1 > $lio_group/enable
    target=id_ext=$guid,ioc_guid=$guid,dest=$address:$lio_srp_port
}

lio_down_srp() {
    echo 0 > $lio_group/enable
    rm $lio_group/acls/$address/lun_0/disk $lio_group/lun/lun_0/disk
    rmdir $lio_group/acls/$address/lun_0 $lio_group/acls/$address $lio_group/lun/lun_0
    rmdir $lio_group $lio/srpt/$guid_groups $lio/srpt
    modprobe -r ib_srpt
}

lio_up_iser() {
    modprobe -a iscsi_target_mod ib_isert || return 1
    mkdir -p $lio/iscsi
    lio_group=$lio/iscsi/$lio_name/tpgt_1
    mkdir -p $lio_group/lun/lun_0
    ln -s $lio_disk $lio_group/lun/lun_0/disk
    echo 0 > $lio_group/attrib/authentication
    mkdir -p $lio_group/acls/$initiator/lun_0
    ln -s $lio_group/lun/lun_0 $lio_group/acls/$initiator/lun_0/disk
    target=$lio_name portal=$address:$lio_iser_port
    mkdir -p $lio_group/np/$portal
    echo 1 > $lio_group/np/$portal/iser
    echo 1 > $lio_group/enable
}

lio_down_iser() {
    echo 0 > $lio_group/enable
    rm $lio_group/acls/$initiator/lun_0/disk $lio_group/lun/lun_0/disk
    rmdir $lio_group/acls/$initiator/lun_0 $lio_group/acls/$initiator $lio_group/lun/lun_0
    rmdir $lio_group/np/$portal $lio_group $lio/iscsi/$lio_name $lio/iscsi
    modprobe -r ib_isert iscsi_target_mod
}

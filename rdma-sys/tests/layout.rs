//! Sizes and offsets of the checked-in types against the C headers of this machine.
//!
//! Needs a C compiler and the headers of `libibverbs-dev` and `librdmacm-dev`. Without them the comparison
//! is skipped with a printed reason; where the environment has `CI` set, that is a failure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::mem::offset_of;
use std::process::Command;
use std::{env, fs};

/// A type as C names it, its size, and each field with its offset.
struct Layout {
    kind: &'static str,
    name: &'static str,
    size: usize,
    fields: Vec<(&'static str, usize)>,
}

macro_rules! layouts {
    ($($kind:ident $name:ident { $($($field:ident).+),* })*) => {
        vec![$(Layout {
            kind: stringify!($kind),
            name: stringify!($name),
            size: size_of::<rdma_sys::$name>(),
            fields: vec![$((
                concat!($(".", stringify!($field)),+),
                offset_of!(rdma_sys::$name, $($field).+),
            )),*],
        }),*]
    };
}

#[rustfmt::skip]
fn layouts() -> Vec<Layout> {
    layouts! {
        struct ib_uverbs_comp_event_desc { cq_handle }
        union ibv_gid { raw, global, global.subnet_prefix, global.interface_id }
        struct ibv_gid_entry { gid, gid_index, port_num, gid_type, ndev_ifindex }
        struct ibv_device_attr { fw_ver, node_guid, sys_image_guid, max_mr_size, page_size_cap, vendor_id, vendor_part_id, hw_ver, max_qp, max_qp_wr, device_cap_flags, max_sge, max_sge_rd, max_cq, max_cqe, max_mr, max_pd, max_qp_rd_atom, max_ee_rd_atom, max_res_rd_atom, max_qp_init_rd_atom, max_ee_init_rd_atom, atomic_cap, max_ee, max_rdd, max_mw, max_raw_ipv6_qp, max_raw_ethy_qp, max_mcast_grp, max_mcast_qp_attach, max_total_mcast_qp_attach, max_ah, max_fmr, max_map_per_fmr, max_srq, max_srq_wr, max_srq_sge, max_pkeys, local_ca_ack_delay, phys_port_cnt }
        struct ibv_port_attr { state, max_mtu, active_mtu, gid_tbl_len, port_cap_flags, max_msg_sz, bad_pkey_cntr, qkey_viol_cntr, pkey_tbl_len, lid, sm_lid, lmc, max_vl_num, sm_sl, subnet_timeout, init_type_reply, active_width, active_speed, phys_state, link_layer, flags, port_cap_flags2 }
        struct ibv_async_event { element, element.cq, element.qp, element.srq, element.wq, element.port_num, event_type }
        struct ibv_wc { wr_id, status, opcode, vendor_err, byte_len, __bindgen_anon_1.imm_data, __bindgen_anon_1.invalidated_rkey, qp_num, src_qp, wc_flags, pkey_index, slid, sl, dlid_path_bits }
        struct ibv_mw_bind_info { mr, addr, length, mw_access_flags }
        struct ibv_pd { context, handle }
        struct ibv_mr { context, pd, addr, length, handle, lkey, rkey }
        struct ibv_mw { context, pd, rkey, handle, type_ }
        struct ibv_global_route { dgid, flow_label, sgid_index, hop_limit, traffic_class }
        struct ibv_ah_attr { grh, dlid, sl, src_path_bits, static_rate, is_global, port_num }
        struct ibv_srq_attr { max_wr, max_sge, srq_limit }
        struct ibv_srq_init_attr { srq_context, attr }
        struct ibv_qp_cap { max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data }
        struct ibv_qp_init_attr { qp_context, send_cq, recv_cq, srq, cap, qp_type, sq_sig_all }
        struct ibv_qp_attr { qp_state, cur_qp_state, path_mtu, path_mig_state, qkey, rq_psn, sq_psn, dest_qp_num, qp_access_flags, cap, ah_attr, alt_ah_attr, pkey_index, alt_pkey_index, en_sqd_async_notify, sq_draining, max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout, retry_cnt, rnr_retry, alt_port_num, alt_timeout, rate_limit }
        struct ibv_sge { addr, length, lkey }
        struct ibv_send_wr { wr_id, next, sg_list, num_sge, opcode, send_flags, __bindgen_anon_1.imm_data, __bindgen_anon_1.invalidate_rkey, wr, wr.rdma, wr.rdma.remote_addr, wr.rdma.rkey, wr.atomic, wr.atomic.remote_addr, wr.atomic.compare_add, wr.atomic.swap, wr.atomic.rkey, wr.ud, wr.ud.ah, wr.ud.remote_qpn, wr.ud.remote_qkey, qp_type, qp_type.xrc, qp_type.xrc.remote_srqn, __bindgen_anon_2.bind_mw, __bindgen_anon_2.bind_mw.mw, __bindgen_anon_2.bind_mw.rkey, __bindgen_anon_2.bind_mw.bind_info, __bindgen_anon_2.tso, __bindgen_anon_2.tso.hdr, __bindgen_anon_2.tso.hdr_sz, __bindgen_anon_2.tso.mss }
        struct ibv_recv_wr { wr_id, next, sg_list, num_sge }
        struct ibv_mw_bind { wr_id, send_flags, bind_info }
        struct ibv_srq { context, srq_context, pd, handle, mutex, cond, events_completed }
        struct ibv_wq { context, wq_context, pd, cq, wq_num, handle, state, wq_type, post_recv, mutex, cond, events_completed, comp_mask }
        struct ibv_qp { context, qp_context, pd, send_cq, recv_cq, srq, handle, qp_num, state, qp_type, mutex, cond, events_completed }
        struct ibv_comp_channel { context, fd, refcnt }
        struct ibv_cq { context, channel, cq_context, handle, cqe, mutex, cond, comp_events_completed, async_events_completed }
        struct ibv_ah { context, pd, handle }
        struct _ibv_device_ops { _dummy1, _dummy2 }
        struct ibv_device { _ops, node_type, transport_type, name, dev_name, dev_path, ibdev_path }
        struct ibv_context_ops { _compat_query_device, _compat_query_port, _compat_alloc_pd, _compat_dealloc_pd, _compat_reg_mr, _compat_rereg_mr, _compat_dereg_mr, alloc_mw, bind_mw, dealloc_mw, _compat_create_cq, poll_cq, req_notify_cq, _compat_cq_event, _compat_resize_cq, _compat_destroy_cq, _compat_create_srq, _compat_modify_srq, _compat_query_srq, _compat_destroy_srq, post_srq_recv, _compat_create_qp, _compat_query_qp, _compat_modify_qp, _compat_destroy_qp, post_send, post_recv, _compat_create_ah, _compat_destroy_ah, _compat_attach_mcast, _compat_detach_mcast, _compat_async_event }
        struct ibv_context { device, ops, cmd_fd, async_fd, num_comp_vectors, mutex, abi_compat }
        struct ib_addr { ib_u, ib_u.uib_addr8, ib_u.uib_addr16, ib_u.uib_addr32, ib_u.uib_addr64 }
        struct sockaddr_ib { sib_family, sib_pkey, sib_flowinfo, sib_addr, sib_sid, sib_sid_mask, sib_scope_id }
        struct sockaddr { sa_family, sa_data }
        struct sockaddr_storage { ss_family, __ss_padding, __ss_align }
        struct in_addr { s_addr }
        struct in6_addr { __in6_u, __in6_u.__u6_addr8, __in6_u.__u6_addr16, __in6_u.__u6_addr32 }
        struct sockaddr_in { sin_family, sin_port, sin_addr, sin_zero }
        struct sockaddr_in6 { sin6_family, sin6_port, sin6_flowinfo, sin6_addr, sin6_scope_id }
        struct ibv_sa_path_rec { dgid, sgid, dlid, slid, raw_traffic, flow_label, hop_limit, traffic_class, reversible, numb_path, pkey, sl, mtu_selector, mtu, rate_selector, rate, packet_life_time_selector, packet_life_time, preference }
        struct rdma_ib_addr { sgid, dgid, pkey }
        struct rdma_addr { __bindgen_anon_1.src_addr, __bindgen_anon_1.src_sin, __bindgen_anon_1.src_sin6, __bindgen_anon_1.src_storage, __bindgen_anon_2.dst_addr, __bindgen_anon_2.dst_sin, __bindgen_anon_2.dst_sin6, __bindgen_anon_2.dst_storage, addr, addr.ibaddr }
        struct rdma_route { addr, path_rec, num_paths }
        struct rdma_event_channel { fd }
        struct rdma_cm_id { verbs, channel, context, qp, route, ps, port_num, event, send_cq_channel, send_cq, recv_cq_channel, recv_cq, srq, pd, qp_type }
        struct rdma_conn_param { private_data, private_data_len, responder_resources, initiator_depth, flow_control, retry_count, rnr_retry_count, srq, qp_num }
        struct rdma_ud_param { private_data, private_data_len, ah_attr, qp_num, qkey }
        struct rdma_cm_event { id, listen_id, event, status, param, param.conn, param.ud }
    }
}

/// A field's path in C, which has no names for anonymous unions and no escape for keywords.
fn c_path(field: &str) -> String {
    let steps = field.split('.').filter(|step| !step.is_empty());
    let named = steps.filter(|step| !step.starts_with("__bindgen_anon"));
    let steps: Vec<_> = named
        .map(|step| if step == "type_" { "type" } else { step })
        .collect();
    steps.join(".")
}

fn c_program(layouts: &[Layout]) -> String {
    let mut program = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include \"wrapper.h\"\nint main(void) {\n",
    );
    for Layout {
        kind, name, fields, ..
    } in layouts
    {
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({kind} {name}));").expect("memory");
        for (field, _) in fields {
            let path = c_path(field);
            writeln!(
                program,
                "printf(\"{name}{field} %zu\\n\", offsetof({kind} {name}, {path}));"
            )
            .expect("memory");
        }
    }
    program.push_str("return 0;\n}\n");
    program
}

/// What C says, by type and field; or why it cannot be asked.
fn ask_c(layouts: &[Layout]) -> Result<BTreeMap<String, usize>, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let source = folder.path().join("layout.c");
    let binary = folder.path().join("layout");
    fs::write(&source, c_program(layouts)).map_err(|e| e.to_string())?;
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(&compiler)
        .arg("-I")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/gen"))
        .args([&source, &"-o".into(), &binary])
        .output()
        .map_err(|e| format!("the C compiler {compiler} cannot be run: {e}"))?;
    let errors = String::from_utf8_lossy(&compiled.stderr);
    if errors.contains("No such file or directory") {
        return Err(format!(
            "the headers of libibverbs-dev and librdmacm-dev are missing: {errors}"
        ));
    }
    assert!(
        compiled.status.success(),
        "the C program does not compile: {errors}"
    );
    let said = Command::new(&binary).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8(said.stdout).map_err(|e| e.to_string())?;
    let pairs = said.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect())
}

#[test]
fn types_agree_with_the_c_headers() {
    let layouts = layouts();
    let c = match ask_c(&layouts) {
        Ok(c) => c,
        Err(reason) if env::var_os("CI").is_some() => panic!("required in CI: {reason}"),
        Err(reason) => {
            // Written past the test harness, which would hide it.
            let test = "types_agree_with_the_c_headers";
            writeln!(io::stderr(), "SKIPPED: {test}: {reason}").expect("standard error");
            return;
        }
    };
    let mut compared = 0;
    for Layout {
        name, size, fields, ..
    } in &layouts
    {
        assert_eq!(c.get(*name), Some(size), "size of {name}");
        for (field, offset) in fields {
            assert_eq!(
                c.get(&format!("{name}{field}")),
                Some(offset),
                "offset of {name}{field}"
            );
        }
        compared += 1 + fields.len();
    }
    assert_eq!(compared, c.len());
}

#[test]
fn every_generated_type_and_field_is_compared() {
    let layouts = layouts();
    let mut fields: Option<Vec<&str>> = None;
    for line in include_str!("../src/types.rs").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["pub", "struct" | "union", name, "{"] if !name.contains("__bindgen_ty") => {
                // A type that the headers only declare has one empty field of no name.
                let found = layouts.iter().find(|layout| layout.name == *name);
                fields =
                    found.map(|layout| layout.fields.iter().map(|(field, _)| *field).collect());
                let opaque = *name == "_compat_ibv_port_attr";
                assert!(fields.is_some() || opaque, "{name} is not compared");
            }
            ["}"] => fields = None,
            ["pub", field, ..] => {
                let field = format!(".{}", field.trim_end_matches(':'));
                let compared = fields.as_ref().is_none_or(|known| {
                    known
                        .iter()
                        .any(|k| *k == field || k.starts_with(&format!("{field}.")))
                });
                assert!(compared, "field {field} is not compared");
            }
            _ => {}
        }
    }
}

//! The functions of the two libraries.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem;
use std::sync::OnceLock;

use crate::load::{Library, LoadError};
use crate::types::*;

/// Defines a table of C functions, each a field with the C name, and the function that loads it once.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident, $load:ident, $library:literal, $packages:literal;
        $($name:ident: fn($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the names are those of the C headers, which document them")]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($argument: $type),*) $(-> $result)?,)*
        }

        impl $table {
            fn open() -> Result<Self, LoadError> {
                let library = Library::open($library, $packages)?;
                Ok(Self {
                    $($name: {
                        const NAME: &CStr = match CStr::from_bytes_with_nul(
                            concat!(stringify!($name), "\0").as_bytes(),
                        ) {
                            Ok(name) => name,
                            Err(_) => panic!("a name of C has no NUL inside"),
                        };
                        let symbol = library.symbol(NAME)?.as_ptr();
                        // SAFETY: the symbol is the C function of this name, whose header declares these types,
                        // and the library is never unloaded.
                        unsafe {
                            mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($type),*) $(-> $result)?,
                            >(symbol)
                        }
                    },)*
                })
            }
        }

        #[doc = concat!("The table of [`", stringify!($table), "`], loaded by the first call from any thread.")]
        ///
        /// # Errors
        /// The library or one of its functions is missing; the error is the same at every call.
        pub fn $load() -> Result<&'static $table, LoadError> {
            static TABLE: OnceLock<Result<$table, LoadError>> = OnceLock::new();
            TABLE.get_or_init($table::open).as_ref().map_err(Clone::clone)
        }
    };
}

table! {
    /// Functions of `libibverbs.so.1`.
    Verbs, verbs, c"libibverbs.so.1", "libibverbs1 and ibverbs-providers";

    ibv_get_device_list: fn(count: *mut c_int) -> *mut *mut ibv_device;
    ibv_free_device_list: fn(list: *mut *mut ibv_device);
    ibv_get_device_name: fn(device: *mut ibv_device) -> *const c_char;
    ibv_get_device_guid: fn(device: *mut ibv_device) -> __be64;
    ibv_open_device: fn(device: *mut ibv_device) -> *mut ibv_context;
    ibv_close_device: fn(context: *mut ibv_context) -> c_int;
    ibv_query_device: fn(context: *mut ibv_context, attributes: *mut ibv_device_attr) -> c_int;
    ibv_query_port: fn(context: *mut ibv_context, port: u8, attributes: *mut _compat_ibv_port_attr) -> c_int;
    ibv_query_gid: fn(context: *mut ibv_context, port: u8, index: c_int, gid: *mut ibv_gid) -> c_int;
    ibv_query_pkey: fn(context: *mut ibv_context, port: u8, index: c_int, pkey: *mut __be16) -> c_int;
    ibv_get_async_event: fn(context: *mut ibv_context, event: *mut ibv_async_event) -> c_int;
    ibv_ack_async_event: fn(event: *mut ibv_async_event);
    ibv_alloc_pd: fn(context: *mut ibv_context) -> *mut ibv_pd;
    ibv_dealloc_pd: fn(pd: *mut ibv_pd) -> c_int;
    ibv_reg_mr: fn(pd: *mut ibv_pd, address: *mut c_void, length: usize, access: c_int) -> *mut ibv_mr;
    ibv_dereg_mr: fn(mr: *mut ibv_mr) -> c_int;
    ibv_create_comp_channel: fn(context: *mut ibv_context) -> *mut ibv_comp_channel;
    ibv_destroy_comp_channel: fn(channel: *mut ibv_comp_channel) -> c_int;
    ibv_create_cq: fn(context: *mut ibv_context, depth: c_int, cq_context: *mut c_void, channel: *mut ibv_comp_channel, vector: c_int) -> *mut ibv_cq;
    ibv_resize_cq: fn(cq: *mut ibv_cq, depth: c_int) -> c_int;
    ibv_destroy_cq: fn(cq: *mut ibv_cq) -> c_int;
    ibv_ack_cq_events: fn(cq: *mut ibv_cq, count: c_uint);
    ibv_create_srq: fn(pd: *mut ibv_pd, attributes: *mut ibv_srq_init_attr) -> *mut ibv_srq;
    ibv_destroy_srq: fn(srq: *mut ibv_srq) -> c_int;
    ibv_create_qp: fn(pd: *mut ibv_pd, attributes: *mut ibv_qp_init_attr) -> *mut ibv_qp;
    ibv_modify_qp: fn(qp: *mut ibv_qp, attributes: *mut ibv_qp_attr, mask: c_int) -> c_int;
    ibv_destroy_qp: fn(qp: *mut ibv_qp) -> c_int;
}

table! {
    /// Functions of `librdmacm.so.1`.
    Cm, cm, c"librdmacm.so.1", "librdmacm1 and ibverbs-providers";

    rdma_create_event_channel: fn() -> *mut rdma_event_channel;
    rdma_destroy_event_channel: fn(channel: *mut rdma_event_channel);
    rdma_create_id: fn(channel: *mut rdma_event_channel, id: *mut *mut rdma_cm_id, context: *mut c_void, port_space: rdma_port_space) -> c_int;
    rdma_destroy_id: fn(id: *mut rdma_cm_id) -> c_int;
    rdma_set_option: fn(id: *mut rdma_cm_id, level: c_int, name: c_int, value: *mut c_void, length: usize) -> c_int;
    rdma_bind_addr: fn(id: *mut rdma_cm_id, address: *mut sockaddr) -> c_int;
    rdma_resolve_addr: fn(id: *mut rdma_cm_id, source: *mut sockaddr, destination: *mut sockaddr, timeout_ms: c_int) -> c_int;
    rdma_resolve_route: fn(id: *mut rdma_cm_id, timeout_ms: c_int) -> c_int;
    rdma_init_qp_attr: fn(id: *mut rdma_cm_id, attributes: *mut ibv_qp_attr, mask: *mut c_int) -> c_int;
    rdma_listen: fn(id: *mut rdma_cm_id, backlog: c_int) -> c_int;
    rdma_connect: fn(id: *mut rdma_cm_id, parameters: *mut rdma_conn_param) -> c_int;
    rdma_establish: fn(id: *mut rdma_cm_id) -> c_int;
    rdma_accept: fn(id: *mut rdma_cm_id, parameters: *mut rdma_conn_param) -> c_int;
    rdma_reject: fn(id: *mut rdma_cm_id, private_data: *const c_void, private_data_len: u8) -> c_int;
    rdma_disconnect: fn(id: *mut rdma_cm_id) -> c_int;
    rdma_get_cm_event: fn(channel: *mut rdma_event_channel, event: *mut *mut rdma_cm_event) -> c_int;
    rdma_ack_cm_event: fn(event: *mut rdma_cm_event) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_load_or_say_what_to_install() {
        for loaded in [verbs().map(drop), cm().map(drop)] {
            if let Err(error) = loaded {
                let text = error.to_string();
                assert!(text.contains("install lib"), "{text}");
            }
        }
    }
}

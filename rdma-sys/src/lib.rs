//! Bindings to `libibverbs` and `librdmacm`, opened at run time.
//!
//! Room: the C interface and nothing above it. The types stand in `types.rs`, generated once and checked
//! in; the functions are tables of symbols ([`verbs`], [`cm`]) that are looked up when they are first
//! needed, so that building and running need no RDMA package. A machine without the libraries gets a
//! [`LoadError`] that names the package. The names are those of the C headers.
//!
//! The headers give five functions of the data path as inline code that goes through the context; they are in
//! `inline.rs` here.
//!
//! # How the types are made
//!
//! `gen/wrapper.h` lists the headers and `gen/bindgen.args` holds the generator's options, one per line:
//!
//! ```text
//! xargs -d '\n' -a gen/bindgen.args bindgen gen/wrapper.h -o src/types.rs
//! ```
//!
//! with bindgen 0.72 and the headers of `libibverbs-dev` and `librdmacm-dev`. Both libraries keep their
//! symbol versions and grow their structures only behind `comp_mask`, so one file serves every rdma-core
//! from version 44 on. The sizes and offsets are not asserted here because those of the pthread members
//! differ between architectures; `tests/layout.rs` compares them with the C headers of the machine it runs
//! on.

mod inline;
mod load;
mod tables;
#[allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "generated"
)]
mod types;

pub use inline::{ibv_poll_cq, ibv_post_recv, ibv_post_send, ibv_post_srq_recv, ibv_req_notify_cq};
pub use load::LoadError;
pub use tables::{Cm, Verbs, cm, verbs};
pub use types::*;

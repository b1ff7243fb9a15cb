//! The API: HTTP and JSON over a unix socket. `docs/api.md` lists the routes.
//!
//! Who may open the socket may do everything; its file mode (0660) and its folder are the access control.

pub mod answer;
pub mod client;
pub mod routes;
pub mod server;

//! Rules of a connection, one by one, with PDUs made by hand.

mod commands;
mod ending;
mod harness;
mod iser;
mod login;
mod requests;
mod stream;
mod write;

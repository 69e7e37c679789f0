//! A thin layer on hyper: one server loop, one client.
//!
//! Always holds:
//! - connections, header time, request bodies, response bodies and request time are capped;
//! - a handler that panics answers 500 and leaves the process alone;
//! - on shutdown the server stops accepting, lets requests finish, and then leaves.

mod client;
mod server;

pub use client::{Client, ClientError, ClientOptions, Outgoing, Response};
pub use server::{HttpSection, ServeError, bind, serve};

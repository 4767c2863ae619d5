//! From the wire to the stack: what listens, what is read and checked, who may do what, where a request leads, and the
//! REGISTER of our phones and with our trunks.

pub(crate) mod admission;
pub(crate) mod config;
pub(crate) mod enrol;
pub(crate) mod grammar;
pub(crate) mod ingress;
pub(crate) mod listen;
pub(crate) mod next_hop;
pub(crate) mod registrar;
pub(crate) mod resolve;
pub(crate) mod sockets;
pub(crate) mod streams;
pub(crate) mod tls;
pub(crate) mod trunk_link;
pub(crate) mod trunks;
pub(crate) mod wire;

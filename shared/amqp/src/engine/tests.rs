//! Two engines back to back, and an engine against a hand-written peer.

mod credit;
mod deliveries;
mod fuzz;
mod handshake;
mod hostile;
mod idle;
mod links;
mod pair;
mod raw_peer;
mod sessions;

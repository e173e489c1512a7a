//! Ports for private servers: loopback only, free at the moment of asking.
//!
//! Another process can take a port between the asking and the server's own bind. Starting code
//! therefore looks again when a server ends early, and tries another port if its own was taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nightshift_runtime::free_port;

use super::ServerError;

/// How many ports are tried before a server that loses the race for each is given up.
pub(crate) const TRIES: usize = 3;

/// `port` on the loopback interface.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A loopback port that nobody listens on now.
pub(super) fn free() -> Result<u16, ServerError> {
    free_port().map_err(|error| ServerError::Machine(format!("no free loopback port: {error}")))
}

/// Whether nobody listens on `port` of the loopback interface now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// `wanted` if it is free now, otherwise any free port.
pub(crate) fn prefer(wanted: Option<u16>) -> Result<u16, ServerError> {
    match wanted {
        Some(port) if port != 0 && is_free(port) => Ok(port),
        _ => free(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over_and_a_free_one_is_kept() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_ne!(prefer(Some(port)).unwrap(), port);
        drop(taken);
        assert_eq!(prefer(Some(port)).unwrap(), port);
    }
}

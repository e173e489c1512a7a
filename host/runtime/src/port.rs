//! A port for another process to listen on.
//!
//! Between the moment a port is found free and the moment that process binds it, a third one can
//! take it: the process fails, or the third one's answers are mistaken for its own. The ports that systems hand out by
//! themselves, to every outgoing connection and to whoever asks for any port, are the likely ones
//! to be taken, so those are avoided: a port is drawn at random from below that range.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::Rng;

/// Below the first port that Linux (32,768) and the IANA's rule (49,152) hand out by themselves,
/// above the well-known ones.
const CANDIDATES: Range<u16> = 20_000..32_768;

/// How many of them are tried before the system is asked for any.
const ATTEMPTS: usize = 100;

/// A port of the loopback interface that is free now: one of [`CANDIDATES`], or any if all that were
/// tried are taken.
pub fn free_port() -> io::Result<u16> {
    let mut rng = rand::rng();
    let drawn = std::iter::repeat_with(|| rng.random_range(CANDIDATES)).take(ATTEMPTS);
    let free = drawn
        .into_iter()
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    match free {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_none_that_the_system_hands_out() {
        let port = free_port().unwrap();
        assert!(CANDIDATES.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}

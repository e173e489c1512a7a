//! Ports for private servers: loopback only, free at the moment of asking.
//!
//! Another process can take a port between the asking and the server's own bind. A server that ends
//! early is therefore started again on another port if its own was taken: [`on_free_port`].

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nightshift_runtime::free_port;

use super::ServerError;

/// How many ports are tried before a server that loses the race for each is given up.
const TRIES: usize = 3;

/// How far above its own port a node of a Redis cluster has its second one.
const PAIR: u16 = 10_000;

/// How many free ports are looked at for one whose pair is free: four in five have one at all.
const PAIRS: usize = 100;

/// `port` on the loopback interface.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A loopback port that nobody listens on now.
fn free() -> Result<u16, ServerError> {
    free_port().map_err(|error| ServerError::Machine(format!("no free loopback port: {error}")))
}

/// Whether nobody listens on `port` of the loopback interface now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// Has `start` start a server on `wanted`, if that is free, or else on any free port; again on
/// another port if the server ends because somebody was quicker. Returns the port too.
pub(crate) async fn on_free_port<T>(
    wanted: Option<u16>,
    start: impl AsyncFnMut(u16) -> Result<T, ServerError>,
) -> Result<(u16, T), ServerError> {
    on_port(|| prefer(wanted), start).await
}

/// The same for a node of a Redis cluster, which listens for its like on the port 10,000 above its own.
pub(super) async fn on_free_pair<T>(
    start: impl AsyncFnMut(u16) -> Result<T, ServerError>,
) -> Result<(u16, T), ServerError> {
    on_port(free_pair, start).await
}

async fn on_port<T>(
    choose: impl Fn() -> Result<u16, ServerError>,
    mut start: impl AsyncFnMut(u16) -> Result<T, ServerError>,
) -> Result<(u16, T), ServerError> {
    let mut tries = 0;
    loop {
        let port = choose()?;
        tries += 1;
        match start(port).await {
            Err(ServerError::Exited { tail, .. })
                if tries < TRIES && (says_taken(&tail) || !is_free(port)) => {}
            outcome => return Ok((port, outcome?)),
        }
    }
}

/// Whether a server's last words are that its port was taken. Whoever was quicker may have gone
/// again since.
fn says_taken(tail: &str) -> bool {
    tail.contains("ddress already in use") || tail.contains("EADDRINUSE")
}

/// A port that nobody listens on now, nor on the one 10,000 above it.
fn free_pair() -> Result<u16, ServerError> {
    for _ in 0..PAIRS {
        let port = free()?;
        if port.checked_add(PAIR).is_some_and(is_free) {
            return Ok(port);
        }
    }
    Err(ServerError::Machine(format!(
        "no loopback port is free together with the one {PAIR} above it, of {PAIRS} that were tried"
    )))
}

/// `wanted` if it is free now, otherwise any free port.
fn prefer(wanted: Option<u16>) -> Result<u16, ServerError> {
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

    #[test]
    fn a_pair_of_ports_is_free() {
        let port = free_pair().unwrap();
        assert!(is_free(port) && is_free(port + PAIR));
    }

    /// A server that ends because its port has gone to one of `others`.
    fn beaten(others: &mut Vec<TcpListener>, port: u16) -> Result<(), ServerError> {
        others.push(TcpListener::bind(loopback(port)).unwrap());
        Err(ended(""))
    }

    fn ended(last_words: &str) -> ServerError {
        ServerError::Exited {
            name: "a server".into(),
            status: std::process::ExitStatus::default(),
            log: "its.log".into(),
            tail: last_words.into(),
        }
    }

    #[tokio::test]
    async fn a_server_that_somebody_was_quicker_than_gets_another_port() {
        let mut others = Vec::new();
        let (port, ()) = on_free_port(None, async |port| {
            if others.len() < TRIES - 1 {
                return beaten(&mut others, port);
            }
            Ok(())
        })
        .await
        .unwrap();
        assert!(is_free(port));
        let mut others = Vec::new();
        let given_up = on_free_port(None, async |port| beaten(&mut others, port)).await;
        assert!(matches!(given_up, Err(ServerError::Exited { .. })));
        assert_eq!(others.len(), TRIES);
    }

    #[tokio::test]
    async fn one_that_ends_for_another_reason_is_not_tried_again() {
        let mut tries = 0;
        let failed = on_free_port(None, async |_| {
            tries += 1;
            Err::<(), _>(ended("no such option"))
        })
        .await;
        assert!(matches!(failed, Err(ServerError::Exited { .. })));
        assert_eq!(tries, 1);
    }

    #[tokio::test]
    async fn one_that_found_its_port_taken_is_tried_again_even_if_it_is_free_by_now() {
        for last_words in [
            "bind: Address already in use (os error 98)",
            "Error: listen EADDRINUSE: address already in use 127.0.0.1:1",
        ] {
            let mut tries = 0;
            let started = on_free_port(None, async |_| {
                tries += 1;
                if tries == 1 {
                    Err(ended(last_words))
                } else {
                    Ok(())
                }
            });
            started.await.unwrap();
            assert_eq!(tries, 2);
        }
    }
}

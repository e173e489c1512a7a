//! One client's connection.
use std::{net::SocketAddr, sync::Arc};
use crate::broker::Shared;
pub(crate) async fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, id: u64, shared: Arc<Shared>) { let _=(stream,peer,id,shared); }

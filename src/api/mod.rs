//! What the running bridge answers to programs: HTTP on the control core.
//!
//! Everything is told from the last published [`Snapshot`](crate::telemetry::Snapshot), so that asking costs the workers nothing and all answers of one
//! moment agree; each carries its number.

// For Prometheus.
mod metrics;
// For whoever watches over the process.
mod health;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use axum::Router;
use axum::routing::get;

use crate::telemetry::Published;

/// Why nothing can be answered.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} ([api] listen): {source}; name another address, or \"none\"")]
pub struct Error {
    address: SocketAddr,
    source: io::Error,
}

/// Begins to answer on `address`, from a thread of its own that ends with the process.
///
/// # Errors
///
/// If the address isn't to be had.
pub fn serve(address: SocketAddr, published: Published) -> Result<(), Error> {
    let refused = |source| Error { address, source };
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let router = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(health::health))
        .with_state(published);
    let answer = move || {
        runtime.block_on(async {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => axum::serve(listener, router).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!("{address} is answered no more: {error}");
            }
        });
    };
    thread::Builder::new().name("api".to_owned()).spawn(answer).map_err(refused)?;
    tracing::info!("metrics at http://{address}/metrics");
    Ok(())
}

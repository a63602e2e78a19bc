//! `GET /health`: whether frames are being forwarded, for scripts and supervisors.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::telemetry::{Published, WireState};

#[derive(Debug, Serialize)]
pub(super) struct Health {
    snapshot_seq: u64,
    wires: Vec<Wire>,
}

#[derive(Debug, Serialize)]
struct Wire {
    wire: String,
    state: WireState,
}

/// 200 if every wire is forwarded by us, or past us because that was ordered; else 503.
pub(super) async fn health(State(published): State<Published>) -> (StatusCode, Json<Health>) {
    let snapshot = published.load();
    let wires: Vec<Wire> =
        snapshot.wires.iter().map(|account| Wire { wire: account.wire.clone(), state: account.state }).collect();
    let well = wires.iter().all(|wire| matches!(wire.state, WireState::Forwarding | WireState::Bypassed));
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { snapshot_seq: snapshot.seq, wires }))
}

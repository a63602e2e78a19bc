//! `GET /metrics`: the last snapshot in Prometheus' text format.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::telemetry::{Published, prometheus};

pub(super) async fn metrics(State(published): State<Published>) -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], prometheus::text(&published.load()))
}

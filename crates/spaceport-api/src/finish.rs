//! What changes something runs to its end, whether or not the client waits for the answer: half a
//! change would be one without its audit entry, or without the reconciler's knowing of it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::error::ApiError;
use crate::state::Lifetime;

/// A layer for everything that answers at once; what streams for long decides for itself.
pub(crate) async fn finish(
    State(lifetime): State<Lifetime>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let work = lifetime.detach(async move { next.run(request).await }.in_current_span());
    match work.await {
        Ok(response) => Ok(response),
        // Reported with the request, as any other panic.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ApiError::internal(error)),
    }
}

//! Git smart HTTP: who may, and what a push means. The crate `spaceport-git` does the protocol.
//!
//! Bodies are streamed both ways and have no limit here; that crate has them.

use std::collections::HashMap;
use std::io;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::json;

use spaceport_core::CommitSha;
use spaceport_core::space::Space;
use spaceport_git::{BodyEncoding, GitError, PushMessages, PushReport, Request as GitRequest, Service};

use crate::access::{ReadSpace, find_space};
use crate::audit;
use crate::caller::{Caller, User};
use crate::error::ApiError;
use crate::extract::Params;
use crate::spaces::settled;
use crate::state::ApiState;

/// Git looks at the body of a refusal; it prints it when it is plain text.
/// git: `http.c`, `http_get_file` shows `text/plain` answers as `remote:` lines.
#[derive(Debug)]
pub struct GitRefusal(ApiError);

impl From<ApiError> for GitRefusal {
    fn from(error: ApiError) -> Self {
        Self(error.with_challenge())
    }
}

impl From<GitError> for GitRefusal {
    fn from(error: GitError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for GitRefusal {
    fn into_response(self) -> Response {
        let text = self.0.message().to_owned();
        let mut response = self.0.into_response();
        *response.body_mut() = Body::from(format!("{text}\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        response
    }
}

/// A Space the caller may use with a service.
struct Target {
    space: Space,
    /// For a push.
    user: Option<User>,
}

async fn target(state: &ApiState, request: Request, service: Service) -> Result<(Target, Request), GitRefusal> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts, state).await?;
    let anonymous = caller.is_anonymous();
    let path = Path::<HashMap<String, String>>::from_request_parts(&mut parts, state).await;
    let Ok(Path(path)) = path else { return Err(ApiError::no_repo(anonymous).into()) };
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let name = part("name");
    let name = name.strip_suffix(".git").unwrap_or(name);
    let read: ReadSpace = find_space(state, part("owner"), name, caller).await?;
    let target = match service {
        Service::UploadPack => Target { space: read.into_code()?.0.space, user: None },
        Service::ReceivePack => {
            // What the caller may not see stays unseen, whatever the service.
            let to = read.into_code()?.0.into_write()?;
            Target { space: to.space, user: Some(to.user) }
        }
    };
    Ok((target, Request::from_parts(parts, body)))
}

/// `GET /spaces/{owner}/{name}/info/refs?service=…`.
pub async fn get_refs(State(state): State<ApiState>, params: Params, request: Request) -> Result<Response, GitRefusal> {
    let service = params
        .get("service")
        .and_then(Service::from_name)
        .ok_or_else(|| ApiError::forbidden("Only the smart HTTP protocol is spoken here; use git 1.6.6 or newer"))?;
    let (target, request) = target(&state, request, service).await?;
    let protocol = text(request.headers(), "git-protocol");
    let refs = state.repositories.advertise(target.space.id.into(), service, protocol.as_deref()).await?;
    Ok(answer(&service.advertisement_type(), Body::from(refs)))
}

/// `POST /spaces/{owner}/{name}/git-upload-pack`: clone and fetch.
pub async fn upload_pack(State(state): State<ApiState>, request: Request) -> Result<Response, GitRefusal> {
    let service = Service::UploadPack;
    let (target, request) = target(&state, request, service).await?;
    let output = state.repositories.upload_pack(target.space.id.into(), git_request(request)?).await?;
    Ok(answer(&service.result_type(), Body::from_stream(output.map(|chunk| chunk.map_err(io::Error::other)))))
}

/// `POST /spaces/{owner}/{name}/git-receive-pack`: a push.
pub async fn receive_pack(State(state): State<ApiState>, request: Request) -> Result<Response, GitRefusal> {
    let service = Service::ReceivePack;
    let (target, request) = target(&state, request, service).await?;
    let Target { space, user: Some(user) } = target else { return Err(ApiError::sign_in().into()) };
    let messages = messages(&state, &space);
    let push = state.repositories.receive_pack(space.id.into(), git_request(request)?, &messages)?;
    // A task of its own: the push counts even when the client leaves after its last byte.
    let recorded = state.lifetime.detach({
        let state = state.clone();
        async move { pushed(&state, &space, &user, push.done.await).await }
    });
    // A push that fails before git says anything gets a proper answer.
    let mut output = push.output.started().await?;
    // The answer ends after the push was recorded, so that whoever asks next sees it.
    let body = async_stream::stream! {
        while let Some(chunk) = output.next().await {
            yield chunk.map_err(io::Error::other);
        }
        // A failure was logged where it happened; the refs have moved all the same.
        let _ = recorded.await;
    };
    Ok(answer(&service.result_type(), Body::from_stream(body)))
}

/// Records what a push changed.
async fn pushed(state: &ApiState, space: &Space, user: &User, report: Result<PushReport, GitError>) {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            tracing::info!(space.name = %space.name, %error, "a push did not go through");
            return;
        }
    };
    let Some(head) = report.main().cloned() else { return };
    match record(state, space, user, head).await {
        Ok(()) => tracing::info!(space.name = %space.name, "a push moved main"),
        Err(error) => {
            tracing::error!(space.name = %space.name, ?error, "a push could not be recorded; the next push will be");
        }
    }
}

async fn record(state: &ApiState, space: &Space, user: &User, pushed: CommitSha) -> Result<(), ApiError> {
    let now = state.control.clock().now();
    let changes = state.control.changes();
    // What main points to now, and not what this push made it: two pushes may end in any order,
    // and one may move it between the look and the record.
    let (head, changed) = loop {
        let head = state.repositories.head(space.id.into(), "main").await?.unwrap_or_else(|| pushed.clone());
        let changed = state.store.space_change(space.id, now, |desired| desired.head = Some(head.clone())).await?;
        if state.repositories.head(space.id.into(), "main").await?.is_none_or(|now| now == head) {
            break (head, changed);
        }
    };
    state.control.activate(space.id);
    audit::record(state, user, "space.push", &space.name.to_string(), json!({"head": head})).await?;
    // Whoever waits for the app after a push must not be told the stage of the commit before.
    let Some(changed) = changed.filter(|changed| changed.desired.head != space.desired.head) else { return Ok(()) };
    let (stage, diagnosis) = (changed.stage, changed.diagnosis.clone());
    let follows = |now: &Space| now.stage != stage || now.diagnosis != diagnosis;
    settled(state, changed, changes, follows).await.map(drop)
}

/// What the person who pushes reads in the terminal.
fn messages(state: &ApiState, space: &Space) -> PushMessages {
    let hub = &state.site.hub_url;
    let app = state.site.host(space.subdomain.as_str());
    PushMessages {
        main: vec![
            String::new(),
            format!("Spaceport builds {} now.", space.name),
            format!("  App:   {app}"),
            format!("  Build: {hub}/spaces/{}", space.name),
            format!("         hf spaces logs {} --build --follow", space.name),
            String::new(),
        ],
        other: vec![format!("Only 'main' is built; {app} stays as it is.")],
    }
}

fn git_request(
    request: Request,
) -> Result<GitRequest<impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static>, GitRefusal> {
    let encoding = text(request.headers(), CONTENT_ENCODING.as_str());
    let encoding = BodyEncoding::from_header(encoding.as_deref())
        .ok_or_else(|| ApiError::unsupported_encoding(encoding.as_deref().unwrap_or("")))?;
    let protocol = text(request.headers(), "git-protocol");
    Ok(GitRequest { body: request.into_body().into_data_stream(), encoding, protocol })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn answer(content_type: &str, body: Body) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    let kind = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

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

use spaceport_core::space::DesiredRun;
use spaceport_core::{Repo, RepoKind, card};
use spaceport_git::{
    BodyEncoding, GitError, PushAccess, PushMessages, PushPolicy, PushReport, Request as GitRequest, Service,
};

use crate::access::{DiscussRepo, ReadFiles, ReadRepo, find_repo, rights};
use crate::allowance;
use crate::caller::{Caller, User};
use crate::community::{pushable_pulls, refs_moved};
use crate::error::ApiError;
use crate::extract::Params;
use crate::large::holdings::push_check;
use crate::repos::record::record_head;
use crate::slots::Slot;
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

/// A repository the caller may use with a service.
struct Target {
    repo: Repo,
    /// For a push.
    user: Option<User>,
    /// Which refs a push may touch.
    access: PushAccess,
    /// The turn of the process.
    slot: Slot,
}

async fn target(state: &ApiState, request: Request, service: Service) -> Result<(Target, Request), GitRefusal> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts, state).await?;
    let anonymous = caller.is_anonymous();
    let whose = whose(&caller, &parts.headers);
    let path = Path::<HashMap<String, String>>::from_request_parts(&mut parts, state).await;
    let Ok(Path(path)) = path else { return Err(ApiError::no_repo(anonymous).into()) };
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let name = part("name");
    let name = name.strip_suffix(".git").unwrap_or(name);
    let kind = git_kind(parts.uri.path());
    let read = find_repo(state, kind, part("owner"), name, caller, &parts).await?;
    // What the caller may not see stays unseen, whatever the service.
    let ReadFiles(read) = read.into_files()?;
    let (repo, user, access) = match service {
        Service::UploadPack => (read.repo, None, PushAccess::default()),
        Service::ReceivePack => pusher(state, read).await?,
    };
    let slot = state.git.take(&whose).await?;
    Ok((Target { repo, user, access, slot }, Request::from_parts(parts, body)))
}

/// Whose turns a process takes: the account's, or those of the address an anonymous caller comes
/// from. The proxy appends the peer to `X-Forwarded-For`, whose other entries it believes only a
/// trusted forwarder; so the one before the last, if there is one, is whom that forwarder serves.
fn whose(caller: &Caller, headers: &HeaderMap) -> String {
    if let Some(account) = caller.account() {
        return account.id.to_string();
    }
    let chain = text(headers, "x-forwarded-for").unwrap_or_default();
    let mut chain = chain.rsplit(',').map(str::trim);
    let peer = chain.next().filter(|peer| !peer.is_empty()).unwrap_or(&caller.origin);
    chain.next().unwrap_or(peer).to_owned()
}

/// Who may change the repository pushes everywhere, others to their own pull requests.
async fn pusher(state: &ApiState, read: ReadRepo) -> Result<(Repo, Option<User>, PushAccess), ApiError> {
    let read = if read.rights.discuss && !read.rights.write {
        let DiscussRepo { repo, user, rights } = read.into_discuss()?;
        if let Some(access) = pushable_pulls(state, &repo, &user).await? {
            return Ok((repo, Some(user), access));
        }
        ReadRepo { repo, caller: user.into(), rights }
    } else {
        read
    };
    let to = read.into_write()?;
    Ok((to.repo, Some(to.user), PushAccess::Write))
}

/// Models are at the root, the others below the name of their kind. No account has such a name.
pub(crate) fn git_kind(path: &str) -> RepoKind {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    RepoKind::from_segment(first).unwrap_or(RepoKind::Model)
}

/// `GET /{prefix}{owner}/{name}/info/refs?service=…`.
pub async fn get_refs(State(state): State<ApiState>, params: Params, request: Request) -> Result<Response, GitRefusal> {
    let service = params
        .get("service")
        .and_then(Service::from_name)
        .ok_or_else(|| ApiError::forbidden("Only the smart HTTP protocol is spoken here; use git 1.6.6 or newer"))?;
    let (target, request) = target(&state, request, service).await?;
    if service == Service::ReceivePack {
        // Here git prints why; what it is told when it sends the objects it keeps to itself.
        allowance::for_bytes(&state, &target.repo, 0).await?;
    }
    let protocol = text(request.headers(), "git-protocol");
    let refs = state.repositories.advertise(target.repo.id, service, protocol.as_deref()).await?;
    Ok(answer(&service.advertisement_type(), Body::from(refs)))
}

/// `POST /{prefix}{owner}/{name}/git-upload-pack`: clone and fetch.
pub async fn upload_pack(State(state): State<ApiState>, request: Request) -> Result<Response, GitRefusal> {
    let service = Service::UploadPack;
    let (target, request) = target(&state, request, service).await?;
    let Target { repo, slot, .. } = target;
    let output = state.repositories.upload_pack(repo.id, git_request(request)?).await?;
    let output = output.map(move |chunk| {
        // Until the last of it is sent.
        let _slot = &slot;
        chunk.map_err(io::Error::other)
    });
    Ok(answer(&service.result_type(), Body::from_stream(output)))
}

/// `POST /{prefix}{owner}/{name}/git-receive-pack`: a push.
pub async fn receive_pack(State(state): State<ApiState>, request: Request) -> Result<Response, GitRefusal> {
    let service = Service::ReceivePack;
    let (target, request) = target(&state, request, service).await?;
    let Target { repo, user: Some(user), access, slot } = target else { return Err(ApiError::sign_in().into()) };
    allowance::for_bytes(&state, &repo, allowance::length(request.headers())).await?;
    let pushing =
        ReadRepo { rights: rights(&repo, &user.clone().into()), repo: repo.clone(), caller: user.clone().into() };
    let (lfs, first) = push_check(&state, pushing);
    let policy = PushPolicy { messages: messages(&state, &repo).await?, access, lfs: Some(lfs) };
    let push = state.repositories.receive_pack(repo.id, git_request(request)?, policy)?;
    // A task of its own: the push counts even when the client leaves after its last byte.
    let recorded = state.lifetime.detach({
        let state = state.clone();
        async move {
            let report = push.done.await;
            if report.as_ref().is_ok_and(|report| report.moved.is_empty())
                && let Some(first) = first.get()
            {
                first.clone().give_back(&state, repo.id).await;
            }
            pushed(&state, &repo, &user, report).await;
            allowance::measure(&state, &repo).await;
            drop(slot);
        }
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
async fn pushed(state: &ApiState, repo: &Repo, user: &User, report: Result<PushReport, GitError>) {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            tracing::info!(repo = %repo.path(), %error, "a push did not go through");
            return;
        }
    };
    let others = refs_moved(state, repo, user, &report.moved).await;
    let main = match report.main() {
        Some(head) => record_head(state, repo, user, head, "repo.push").await.map(drop),
        None => Ok(()),
    };
    match others.and(main) {
        Ok(()) => tracing::info!(repo = %repo.path(), "a push moved {} refs", report.moved.len()),
        Err(error) => {
            tracing::error!(repo = %repo.path(), ?error, "a push could not be recorded; the next push will be");
        }
    }
}

/// What the person who pushes reads in the terminal.
async fn messages(state: &ApiState, repo: &Repo) -> Result<PushMessages, ApiError> {
    let hub = &state.site.hub_url;
    let space = match repo.kind {
        RepoKind::Space => state.store.space_by_id(repo.id.into()).await?,
        RepoKind::Model | RepoKind::Dataset => None,
    };
    let Some(space) = space else { return Ok(PushMessages::default()) };
    let (app, name) = (state.site.host(space.subdomain.as_str()), &space.name);
    let main = match space.desired.run {
        DesiredRun::Running => vec![
            format!("Spaceport builds {name} now."),
            format!("  App:   {app}{}", card::base_path(repo.card.as_ref())),
            format!("  Build: {hub}/spaces/{name}"),
            format!("         HF_ENDPOINT={hub} hf spaces logs {name} --build --follow"),
        ],
        DesiredRun::Paused => vec![
            format!("{name} is paused: this is built and started when you restart it."),
            format!("  HF_ENDPOINT={hub} hf spaces restart {name}"),
        ],
        DesiredRun::Stopped => vec![format!("{name} was stopped by a site admin, who alone can restart it.")],
        DesiredRun::Deleting => vec![format!("{name} is being deleted.")],
    };
    Ok(PushMessages {
        main: [vec![String::new()], main, vec![String::new()]].concat(),
        other: vec![format!("Only 'main' is built; {app} stays as it is.")],
    })
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

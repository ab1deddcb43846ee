//! Every path of the hub.
//!
//! API paths are matched as they arrive and decoded segment by segment, so `%2F` inside a segment
//! stays inside it, as the Hub's clients expect.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LINK, RANGE,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use tower_http::cors::{Any, CorsLayer};
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use spaceport_core::RepoKind;

use crate::envelope::{X_REQUEST_ID, envelop};
use crate::error::{ApiError, X_ERROR_CODE, X_ERROR_MESSAGE};
use crate::finish::finish;
use crate::state::ApiState;
use crate::{
    account, admin, avatar, community, files, git, gpu, health, large, orgs, repos, sign_in, spaces, streams, unasked,
    users, web, webhooks,
};

/// How long a browser keeps the answer to a preflight request.
const PREFLIGHT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Spaceport",
        description = "The Hub's API for models, data sets and Spaces, and what Spaceport adds to it in the same style. \
            Errors are `{\"error\": …}` with the headers `X-Error-Code`, `X-Error-Message` and `X-Request-Id`."
    ),
    tags(
        (name = "site", description = "The server itself"),
        (name = "sign-in", description = "Sessions of browsers"),
        (name = "account", description = "The caller"),
        (name = "organizations", description = "Organizations, their members, and users"),
        (name = "repositories", description = "Models, data sets and Spaces"),
        (name = "community", description = "Discussions, pull requests, likes and follows"),
        (name = "webhooks", description = "Who is told what happens"),
        (name = "files", description = "Files, branches and commits"),
        (name = "large files", description = "Files that git-lfs and Xet carry"),
        (name = "spaces", description = "How a Space runs"),
        (name = "gpu", description = "Accelerators: devices, the queue, quotas, use"),
        (name = "settings", description = "Variables, secrets and volumes"),
        (name = "builds", description = "Builds, releases and attempts"),
        (name = "logs", description = "Server-sent events"),
        (name = "admin", description = "For site admins")
    )
)]
struct Document;

/// The router of the hub: API, git and web page.
pub fn router(state: ApiState) -> Router {
    let (api, document) = documented();
    let json = document.to_json().expect("the OpenAPI document is JSON");
    let openapi = move || {
        let json = json.clone();
        async move { ([(CONTENT_TYPE, "application/json")], json) }
    };
    let api = api.layer(axum::middleware::from_fn_with_state(state.lifetime.clone(), finish));
    Router::new()
        .merge(api)
        .route("/api/openapi.json", get(openapi))
        .route("/api/telemetry/{*topic}", any(unasked::ignore_telemetry))
        .route("/oauth/device", post(sign_in::device::begin))
        .route("/oauth/token", post(sign_in::device::ask))
        .route("/login/oidc", get(sign_in::oidc::endpoints::depart))
        .route("/login/oidc/callback", get(sign_in::oidc::endpoints::come_back))
        .merge(git_routes())
        .merge(file_routes())
        .merge(large_routes())
        .fallback(elsewhere)
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(cors())
        .layer(axum::middleware::from_fn(envelop))
        .with_state(state)
}

/// Git is below the page of a repository, as on the Hub.
fn git_routes() -> Router<ApiState> {
    let mut router = Router::new();
    for kind in RepoKind::ALL {
        let at = |path: &str| format!("/{}{{owner}}/{{name}}/{path}", kind.prefix());
        router = router
            .route(&at("info/refs"), get(git::get_refs))
            .route(&at("git-upload-pack"), post(git::upload_pack))
            .route(&at("git-receive-pack"), post(git::receive_pack))
            .route(&at("info/lfs/objects/batch"), post(large::batch::batch))
            .route(&at("info/lfs/locks"), any(large::batch::no_locks))
            .route(&at("info/lfs/locks/{*rest}"), any(large::batch::no_locks));
    }
    router
}

/// Files are below the page of a repository as well. The description of the API has that of models.
fn file_routes() -> Router<ApiState> {
    let mut router = Router::new();
    for kind in RepoKind::ALL {
        let at = |path: &str| format!("/{}{{owner}}/{{name}}/{path}/{{*rest}}", kind.prefix());
        router = router.route(&at("raw"), get(files::resolve::raw_file));
        if kind != RepoKind::Model {
            router = router.route(&at("resolve"), get(files::resolve::resolve_file));
        }
    }
    router
}

/// What git-lfs and Xet clients call with addresses and tokens that the API gave them.
fn large_routes() -> Router<ApiState> {
    use large::{cas, reconstruction, transfer};
    Router::new()
        .route("/api/lfs/{sha256}", put(transfer::put).get(transfer::get))
        .route("/api/lfs/{sha256}/parts/{number}", put(transfer::put_part))
        .route("/api/lfs/{sha256}/complete", post(transfer::complete))
        .route("/api/lfs/{sha256}/verify", post(transfer::verify))
        .route("/api/cas/{client}/v1/xorbs/default/{hash}", post(cas::put_xorb))
        .route("/api/cas/{client}/v1/chunks/default/{hash}", get(cas::get_known_chunks))
        .route("/api/cas/{client}/v1/chunks/default-merkledb/{hash}", get(cas::get_known_chunks))
        .route("/api/cas/{client}/v1/shards", post(cas::put_shard))
        .route("/api/cas/{client}/v2/shards", post(cas::put_shard_with_progress))
        .route("/api/cas/{client}/v1/reconstructions/{file}", get(reconstruction::get_v1))
        .route("/api/cas/{client}/v2/reconstructions/{file}", get(reconstruction::get_v2))
        .route("/api/cas/{client}/xorb", get(reconstruction::get_xorb))
}

/// The description of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().1
}

/// The description of the API as it is checked in at `docs/openapi.json`.
///
/// # Panics
/// Never: the document is made of plain values.
#[must_use]
pub fn openapi_json() -> String {
    openapi().to_pretty_json().expect("the OpenAPI document is JSON")
}

fn documented() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::get_health))
        .routes(routes!(unasked::list_agent_harnesses))
        .routes(routes!(unasked::validate_yaml))
        .routes(routes!(account::whoami::whoami))
        .routes(routes!(account::password::set_own_password))
        .routes(routes!(account::sessions::list_sessions))
        .routes(routes!(account::sessions::delete_session))
        .routes(routes!(account::repositories::list_own_repositories))
        .routes(routes!(account::revoke::revoke_credentials))
        .routes(routes!(avatar::get_avatar))
        .routes(routes!(sign_in::login::get_sign_in, sign_in::login::sign_in))
        .routes(routes!(sign_in::login::sign_in_with_link))
        .routes(routes!(sign_in::login::sign_out))
        .routes(routes!(sign_in::device::get_device, sign_in::device::answer_device))
        .routes(routes!(
            sign_in::oidc::endpoints::list_identities,
            sign_in::oidc::endpoints::connect_identity,
            sign_in::oidc::endpoints::disconnect_identity
        ))
        .routes(routes!(users::get_user))
        .routes(routes!(orgs::manage::create_org))
        .routes(routes!(orgs::manage::update_org, orgs::manage::delete_org))
        .routes(routes!(orgs::overview::get_org))
        .routes(routes!(orgs::overview::get_org_avatar))
        .routes(routes!(orgs::members::list_members))
        .routes(routes!(orgs::members::set_member, orgs::members::remove_member))
        .routes(routes!(account::repositories::list_org_repositories))
        .routes(routes!(account::tokens::list_own_tokens, account::tokens::create_own_token))
        .routes(routes!(account::tokens::delete_own_token))
        .routes(routes!(repos::create::create_repo))
        .routes(routes!(repos::delete::delete_repo))
        .routes(routes!(repos::moving::move_repo))
        .routes(routes!(repos::list::list_models))
        .routes(routes!(repos::list::list_datasets))
        .routes(routes!(repos::list::list_spaces))
        .routes(routes!(repos::tags::list_model_tags))
        .routes(routes!(repos::tags::list_dataset_tags))
        .routes(routes!(spaces::hardware::list_hardware))
        .routes(routes!(spaces::templates::list_templates))
        .routes(routes!(spaces::search::search_spaces))
        .routes(routes!(spaces::refused::get_zero_gpu_quota))
        .routes(routes!(repos::info::get_space_by_subdomain))
        .routes(routes!(repos::info::get_space))
        .routes(routes!(repos::info::get_repo))
        .routes(routes!(repos::info::get_revision))
        .routes(routes!(repos::settings::update_settings))
        .routes(routes!(repos::duplicate::duplicate_repo))
        .routes(routes!(repos::auth_check::check_read))
        .routes(routes!(repos::auth_check::check_write))
        .routes(routes!(community::discussions::list_discussions, community::discussions::create_discussion))
        .routes(routes!(community::discussions::get_discussion))
        .routes(routes!(community::comments::comment_discussion))
        .routes(routes!(community::comments::edit_comment))
        .routes(routes!(community::comments::hide_comment))
        .routes(routes!(community::status::rename_discussion))
        .routes(routes!(community::status::change_status))
        .routes(routes!(community::status::pin_discussion))
        .routes(routes!(community::status::lock_discussion))
        .routes(routes!(community::merge::merge_pull_request))
        .routes(routes!(community::likes::like_repo, community::likes::unlike_repo))
        .routes(routes!(community::likes::list_likers))
        .routes(routes!(community::likes::list_likes))
        .routes(routes!(community::follows::follow_user, community::follows::unfollow_user))
        .routes(routes!(community::follows::list_followers))
        .routes(routes!(community::follows::list_following))
        .routes(routes!(community::follows::follow_organization, community::follows::unfollow_organization))
        .routes(routes!(community::follows::list_organization_followers))
        .routes(routes!(webhooks::settings::list_webhooks, webhooks::settings::create_webhook))
        .routes(routes!(
            webhooks::settings::get_webhook,
            webhooks::settings::update_webhook,
            webhooks::settings::delete_webhook
        ))
        .routes(routes!(webhooks::settings::enable_webhook))
        .routes(routes!(webhooks::settings::disable_webhook))
        .routes(routes!(webhooks::deliveries::list_deliveries))
        .routes(routes!(webhooks::deliveries::replay_delivery))
        .routes(routes!(files::tree::list_tree))
        .routes(routes!(files::paths_info::get_paths_info))
        .routes(routes!(files::refs::list_refs))
        .routes(routes!(files::history::list_commits))
        .routes(routes!(files::compare::compare))
        .routes(routes!(files::resolve::resolve_file))
        .routes(routes!(files::preupload::preupload))
        .routes(routes!(files::commit::create_commit))
        .routes(routes!(files::branches::create_branch, files::branches::delete_branch))
        .routes(routes!(files::branches::create_tag, files::branches::delete_tag))
        .routes(routes!(files::branches::super_squash))
        .routes(routes!(large::tokens::get_xet_read_token))
        .routes(routes!(large::tokens::get_xet_write_token))
        .routes(routes!(large::files::list_large_files))
        .routes(routes!(large::forget::delete_large_files))
        .routes(routes!(large::files::copy_large_files))
        .routes(routes!(spaces::run::get_runtime))
        .routes(routes!(spaces::run::get_host))
        .routes(routes!(spaces::agents::get_agents))
        .routes(routes!(spaces::jwt::get_jwt))
        .routes(routes!(spaces::run::pause_space))
        .routes(routes!(spaces::refused::set_dev_mode))
        .routes(routes!(spaces::refused::set_replicas))
        .routes(routes!(spaces::refused::set_storage, spaces::refused::delete_storage))
        .routes(routes!(spaces::run::stop_space))
        .routes(routes!(spaces::run::restart_space))
        .routes(routes!(spaces::run::set_sleep_time))
        .routes(routes!(spaces::hardware::set_hardware))
        .routes(routes!(spaces::secrets::list_secrets, spaces::secrets::set_secret, spaces::secrets::delete_secret))
        .routes(routes!(
            spaces::variables::list_variables,
            spaces::variables::set_variable,
            spaces::variables::delete_variable
        ))
        .routes(routes!(spaces::volumes::set_volumes, spaces::volumes::delete_volumes))
        .routes(routes!(spaces::builds::list_builds))
        .routes(routes!(spaces::builds::get_build))
        .routes(routes!(streams::build_log::get_build_log))
        .routes(routes!(spaces::builds::cancel_build))
        .routes(routes!(spaces::builds::list_releases))
        .routes(routes!(spaces::builds::list_instances))
        .routes(routes!(streams::build_log::stream_build_log))
        .routes(routes!(streams::run_log::stream_run_log))
        .routes(routes!(streams::events::stream_events))
        .routes(routes!(streams::metrics::stream_metrics))
        .routes(routes!(gpu::devices::list_devices))
        .routes(routes!(gpu::marks::drain_device))
        .routes(routes!(gpu::marks::undrain_device))
        .routes(routes!(gpu::marks::cordon_node))
        .routes(routes!(gpu::marks::uncordon_node))
        .routes(routes!(gpu::queue::list_queue))
        .routes(routes!(gpu::queue::move_claim))
        .routes(routes!(gpu::queue::cancel_claim))
        .routes(routes!(gpu::waiting::get_space_queue))
        .routes(routes!(gpu::quotas::list_quotas))
        .routes(routes!(gpu::quotas::get_quota, gpu::quota_change::set_quota, gpu::quota_change::remove_quota))
        .routes(routes!(gpu::usage::get_usage))
        .routes(routes!(gpu::forecasts::get_forecast))
        .routes(routes!(gpu::refunds::create_refund))
        .routes(routes!(gpu::reservations::list_reservations, gpu::reservations::create_reservation))
        .routes(routes!(gpu::reservations::end_reservation))
        .routes(routes!(gpu::metrics::get_metrics))
        .routes(routes!(admin::users::list_users, admin::users::create_user))
        .routes(routes!(admin::users::delete_user))
        .routes(routes!(admin::users::disable_user))
        .routes(routes!(admin::users::enable_user))
        .routes(routes!(admin::sign_in::set_password))
        .routes(routes!(admin::sign_in::create_sign_in_link))
        .routes(routes!(admin::tokens::list_tokens, admin::tokens::create_token))
        .routes(routes!(admin::tokens::delete_token))
        .routes(routes!(admin::site::list_tasks))
        .routes(routes!(admin::site::list_audit))
        .split_for_parts();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hf_…").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let security = Some(vec![utoipa::openapi::SecurityRequirement::new("token", Vec::<String>::new())]);
    // With `expand` an answer has only the fields asked for; of the runtime, clients may rely on
    // what the Hub promises.
    let promised: [(&str, &[&str]); 3] =
        [("RepoInfo", &["_id", "id"]), ("SpaceInfo", &[]), ("SpaceRuntime", &["stage", "hardware"])];
    for (name, fields) in promised {
        let required = || fields.iter().map(|field| (*field).to_owned()).collect();
        match components.schemas.get_mut(name) {
            Some(RefOr::T(Schema::Object(object))) => object.required = required(),
            Some(RefOr::T(Schema::AllOf(parts))) => {
                for part in &mut parts.items {
                    if let RefOr::T(Schema::Object(object)) = part {
                        object.required = required();
                    }
                }
            }
            _ => {}
        }
    }
    document.security = security;
    // In OpenAPI a parameter that may hold slashes looks like any other.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    (router, document)
}

/// Pages for browsers below every other path; the API's own format below `/api/`.
async fn elsewhere(request: Request) -> Response {
    let path = request.uri().path();
    if names_one_part(path) {
        return ApiError::no_repo(!request.headers().contains_key(AUTHORIZATION)).into_response();
    }
    if path == "/api" || path.starts_with("/api/") {
        return ApiError::not_found("There is nothing at this path").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::method_not_allowed().into_response();
    }
    if web::is_file_path(path) && !web::has_file(path) && !path.starts_with("/spaces/") {
        return ApiError::not_found("There is no such file").into_response();
    }
    web::get_page(request.uri().clone()).await
}

/// Whether the path asks for a repository without an owner, such as `gpt2`: a path that fits no route,
/// and for which clients expect the answer of a missing repository.
fn names_one_part(path: &str) -> bool {
    const BELOW: [&str; 21] = [
        "auth-check",
        "branch",
        "commit",
        "commits",
        "compare",
        "discussions",
        "duplicate",
        "like",
        "lfs-files",
        "likers",
        "paths-info",
        "preupload",
        "refs",
        "resolve",
        "revision",
        "settings",
        "super-squash",
        "tag",
        "tree",
        "xet-read-token",
        "xet-write-token",
    ];
    let Some(rest) = path.strip_prefix("/api/") else {
        let mut parts = path.trim_start_matches('/').split('/');
        return matches!(
            (parts.nth(1), parts.next()),
            (Some("resolve" | "raw"), Some(_))
                | (Some("info"), Some("refs" | "lfs"))
                | (Some("git-upload-pack" | "git-receive-pack"), None)
        );
    };
    let mut parts = rest.split('/');
    let kind = parts.next().and_then(RepoKind::from_segment);
    kind.is_some()
        && parts.next().is_some_and(|name| !name.is_empty())
        && parts.next().is_none_or(|below| BELOW.contains(&below))
}

/// Any origin may read, and none with the browser's own credentials: a token is needed for what
/// is not public.
fn cors() -> CorsLayer {
    let named = |name: &'static str| HeaderName::from_static(name);
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            IF_RANGE,
            RANGE,
            X_REQUEST_ID,
            named("x-amzn-trace-id"),
            named("x-hf-authorization"),
        ])
        .expose_headers([
            named("x-repo-commit"),
            X_REQUEST_ID,
            X_ERROR_CODE,
            X_ERROR_MESSAGE,
            named("x-total-count"),
            ETAG,
            LINK,
            ACCEPT_RANGES,
            CONTENT_RANGE,
            named("x-linked-size"),
            named("x-linked-etag"),
            named("x-xet-hash"),
            named("x-xet-cas-url"),
            named("x-xet-access-token"),
            named("x-xet-token-expiration"),
        ])
        .max_age(PREFLIGHT_AGE)
}

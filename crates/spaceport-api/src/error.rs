//! The one type that knows status codes, and the one format of errors.
//!
//! The Hub's clients read `X-Error-Code` before the status and print `X-Error-Message`, so every
//! error carries both beside `{"error": …}`. What the caller is told and what went wrong inside
//! are separate fields: a 5xx shows a request id, and the log has the chain of causes.
//! There is no conversion of "any error" to 500: each failure is decided where it is known.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_RANGE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use spaceport_core::CommitSha;
use spaceport_git::GitError;
use spaceport_objects::ObjectError;
use spaceport_store::StoreError;

/// Header with the code a client matches.
pub(crate) const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
/// Header with the text a client prints.
pub(crate) const X_ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
/// Header with the commit an answer is about.
pub(crate) const X_REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// Sentence the Hub's clients match to tell a bad token from a missing repository.
const INVALID_CREDENTIALS: &str = "Invalid credentials in Authorization header";
/// Longest text in a header; the body has all of it.
const MAX_HEADER_TEXT: usize = 1000;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong and what to do about it.
    pub error: String,
}

/// What a request is refused or failed with.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Further fields of the body, `url` of a conflict for one.
    fields: Map<String, Value>,
    /// For the log only.
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// git asks for a password only when it is told so.
    challenge: bool,
    /// Further headers.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What the outermost layer needs to log a failure once, with the id of the request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) cause: Arc<str>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            fields: Map::new(),
            cause: None,
            challenge: false,
            headers: Vec::new(),
        }
    }

    /// The request is wrong: what, and what would be right.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The body is larger than this endpoint reads.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let message =
            format!("The request body is larger than {} KiB, the most this endpoint reads", limit_bytes >> 10);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message)
    }

    /// The body did not arrive in time.
    #[must_use]
    pub fn body_timeout(seconds: u64) -> Self {
        let message = format!("The request body did not arrive within {seconds} seconds");
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message)
    }

    /// The token is unknown, revoked or malformed.
    #[must_use]
    pub fn invalid_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidCredentials", INVALID_CREDENTIALS)
    }

    /// Nobody may do this without saying who they are.
    #[must_use]
    pub fn sign_in() -> Self {
        let message = "This needs an account: send a token as 'Authorization: Bearer hf_…'";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// Name and password do not belong together; which of them is wrong is nobody's business.
    #[must_use]
    pub fn wrong_password() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "SignInFailed", "The name or the password is wrong")
    }

    /// The link was used, or its time is over.
    #[must_use]
    pub fn spent_link() -> Self {
        let message = "This link was used already or has expired; ask a site admin for another one \
                       ('spaceport admin user signin-link NAME')";
        Self::new(StatusCode::UNAUTHORIZED, "SignInFailed", message)
    }

    /// There is no provider to sign in with.
    #[must_use]
    pub fn no_provider() -> Self {
        Self::not_found("This hub has no provider to sign in with; a site admin sets one up with [oidc]")
    }

    /// Too many attempts; another one may be made after a while.
    #[must_use]
    pub fn too_many_attempts(wait: Duration) -> Self {
        // Rounded up: who comes back at that second is let in.
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let message = format!("Too many failed attempts to sign in; try again in {seconds} s");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        let mut error = error;
        error.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        error
    }

    /// A page of somebody else asks a signed-in browser to change something.
    #[must_use]
    pub fn other_site() -> Self {
        Self::forbidden(
            "This request comes from another site, or does not say where it comes from ('Origin'); a browser's \
             session changes things only from this hub's own pages. Programs send a token instead",
        )
    }

    /// The caller is known and may not.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// The right is there, the token lacks it.
    #[must_use]
    pub fn read_token() -> Self {
        Self::forbidden("This token may only read; use a token with the role 'write'")
    }

    /// The right is there, the token lacks a part of it.
    #[must_use]
    pub fn token_lacks(what: &str) -> Self {
        Self::forbidden(format!("This token does not have {what}; use one that has it"))
    }

    /// The repository has another name now; the Hub's clients follow and keep their token.
    #[must_use]
    pub fn moved(location: impl Into<String>) -> Self {
        let location = location.into();
        let message = format!("The repository is at {location}");
        Self::new(StatusCode::TEMPORARY_REDIRECT, "RepoMoved", message).with_header(LOCATION, &location)
    }

    /// The path does not exist in the commit.
    #[must_use]
    pub fn no_entry(path: &str) -> Self {
        let message = format!("Entry not found: {}", clip(path));
        Self::new(StatusCode::NOT_FOUND, "EntryNotFound", message)
    }

    /// None of the bytes that were asked for exist.
    #[must_use]
    pub fn no_range(size: u64) -> Self {
        let message = format!("The range is not within the {size} bytes of the file");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "RangeNotSatisfiable", message)
            .with_header(CONTENT_RANGE, &format!("bytes */{size}"))
    }

    /// The branch is not where the caller thinks it is.
    #[must_use]
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    /// No such repository, or none the caller may see: the same answer for both. An anonymous
    /// caller gets a 401, since a token might show more.
    #[must_use]
    pub fn no_repo(anonymous: bool) -> Self {
        let status = if anonymous { StatusCode::UNAUTHORIZED } else { StatusCode::NOT_FOUND };
        Self::new(status, "RepoNotFound", "Repository not found")
    }

    /// No such branch, tag or commit.
    #[must_use]
    pub fn no_revision(revision: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RevisionNotFound", format!("Invalid rev id: {}", clip(revision)))
    }

    /// Another thing that does not exist.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The path exists, the method does not.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "This path does not answer to this method; 'Allow' lists those it answers to";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// What older clients ask for, and what there is instead.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Gone", message)
    }

    /// It collides with what is there.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    /// Something this server needs is away for now; trying again helps.
    #[must_use]
    pub fn unavailable(message: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message);
        Self { cause: Some(Box::new(cause)), ..error }
    }

    /// All hands are full.
    #[must_use]
    pub fn busy(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", message);
        error.headers.push((RETRY_AFTER, HeaderValue::from(retry_after_s)));
        error
    }

    /// Our fault.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The server failed at this request");
        Self { cause: Some(cause.into()), ..error }
    }

    /// Adds a field to the body.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Adds a header; a value that no header can have is left out.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Says at which commit something is not there: clients remember that for the commit.
    #[must_use]
    pub(crate) fn at_commit(self, commit: &CommitSha) -> Self {
        self.with_header(X_REPO_COMMIT, commit.as_str())
    }

    /// Asks for a user name and a password, as git needs it.
    #[must_use]
    pub fn with_challenge(mut self) -> Self {
        self.challenge = self.status == StatusCode::UNAUTHORIZED;
        self
    }

    /// The body is encoded in a way nobody here decodes.
    #[must_use]
    pub fn unsupported_encoding(encoding: &str) -> Self {
        let message =
            format!("Content-Encoding {:?} is not read here; send the body plain or with gzip", clip(encoding));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// Logs the cause of a failure that is told in the middle of a body, where the status is out.
    pub(crate) fn log(&self) {
        if let Some(cause) = &self.cause {
            let text = chain(cause.as_ref());
            tracing::error!(error = text, "a request failed within its answer: {text}");
        }
    }

    /// The text for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists(what) => {
                let mut message = what.to_owned();
                if let Some(first) = message.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                Self::conflict(format!("{message} already exists"))
            }
            error @ (StoreError::Open { .. } | StoreError::Query { .. }) => {
                Self::unavailable("The database does not answer at the moment; try again", error)
            }
            error @ (StoreError::Migrate(_) | StoreError::Corrupt { .. }) => Self::internal(error),
        }
    }
}

impl From<GitError> for ApiError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Request(message) => Self::bad_request(message),
            GitError::ClientGone => Self::bad_request("The request body ended before it was complete"),
            GitError::Source(problem) => Self::bad_request(format!("{problem}. {}", problem.remedy())),
            GitError::FileTooLarge { .. } => Self::bad_request(error.to_string()),
            error @ GitError::Timeout(_) => Self::unavailable("git took too long at this repository; try again", error),
            error @ (GitError::NoRepository(_)
            | GitError::AlreadyExists(_)
            | GitError::Failed { .. }
            | GitError::Io { .. }) => Self::internal(error),
        }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        let message = error.to_string();
        match error {
            ObjectError::WrongContent { .. }
            | ObjectError::WrongSize { .. }
            | ObjectError::Invalid(_)
            | ObjectError::UnknownXorb(_)
            | ObjectError::MissingPart(_)
            | ObjectError::Body(_) => Self::bad_request(message),
            ObjectError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message),
            ObjectError::Busy => Self::conflict(message),
            ObjectError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", message),
            error @ (ObjectError::Damaged(_) | ObjectError::Io { .. }) => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, mut fields, cause, challenge, headers: further } = self;
        fields.insert("error".to_owned(), json!(message));
        let mut response = (status, Json(Value::Object(fields))).into_response();
        let headers = response.headers_mut();
        headers.extend(further);
        headers.insert(X_ERROR_CODE, HeaderValue::from_static(code));
        headers.insert(X_ERROR_MESSAGE, header_text(&message));
        if challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Spaceport\", charset=\"UTF-8\""));
        }
        if let Some(cause) = cause {
            response.extensions_mut().insert(Failure { cause: chain(cause.as_ref()).into() });
        }
        response
    }
}

/// An error with its causes, for the log.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

/// A header holds visible ASCII only; what else a message contains is replaced.
fn header_text(text: &str) -> HeaderValue {
    let safe: String =
        text.chars().take(MAX_HEADER_TEXT).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    HeaderValue::from_str(&safe).unwrap_or(HeaderValue::from_static("error"))
}

/// At most so much of a caller's own text comes back in a message.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}
